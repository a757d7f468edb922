package busd_test

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/waittest"
)

// refusing is an antispam server that refuses what has the word in it, with that code.
func refusing(t *testing.T, word, errcode string) *httptest.Server {
	t.Helper()
	return antispamServer(t, func(w http.ResponseWriter, body string) {
		if strings.Contains(body, word) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"errcode":%q,"error":"no","org.example.n":1}`, errcode)
			return
		}
		_, _ = w.Write([]byte("{}"))
	})
}

// antispamServer answers pings, and the rest with the function.
func antispamServer(t *testing.T, answer func(w http.ResponseWriter, body string)) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.HasSuffix(r.URL.Path, "/ping") {
			_, _ = w.Write([]byte(strings.Replace(string(body), "}", `,"status":"ok"}`, 1)))
			return
		}
		answer(w, string(body))
	}))
	t.Cleanup(s.Close)
	return s
}

// server lists an antispam server that is asked about new rooms.
func server(name, url string, more ...string) string {
	return fmt.Sprintf("  - module: %s\n    antispam: {base_url: '%s/base', callbacks: [user_may_create_room]}\n%s", name, url, strings.Join(more, ""))
}

func TestAntispamServersAndAModuleDecideInOrder(t *testing.T) {
	t.Parallel()
	first, last := refusing(t, "@evil-first", "ORG.FIRST"), refusing(t, "@evil", "ORG.LAST")
	r := serve(t, parse(t, stateDir(t), "modules:\n"+server("first", first.URL)+entry("gate", "runs")+server("last", last.URL)))
	if !strings.HasPrefix(r.line, "busd: ready: ") {
		t.Errorf("it says %q", r.line)
	}
	for user, want := range map[string]string{
		"evil-first": `"errcode":"ORG.FIRST","error":"no","additional_fields":{"org.example.n":1}}},"decided_by":"first"`,
		"evil-other": `"decided_by":"gate"`,
		"@evil":      `"errcode":"ORG.LAST","error":"no","additional_fields":{"org.example.n":1}}},"decided_by":"last"`,
		"good":       `"failures":[]`,
	} {
		if out := r.create(user); !strings.Contains(out, want) || user == "good" && strings.Contains(out, "answer") {
			t.Errorf("%s: %s, want %s", user, out, want)
		}
	}
	if err := r.stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// brokenServers are what a server does that is no verdict, and what busd calls it.
var brokenServers = map[string]struct {
	answer  http.HandlerFunc
	failure string
}{
	"answers HTML":             {says(http.StatusOK, "<html>"), "error"},
	"answers nothing":          {says(http.StatusOK, ""), "error"},
	"has a proxy before it":    {says(http.StatusBadGateway, "<html>"), "error"},
	"breaks in JSON":           {says(http.StatusInternalServerError, `{"error":"boom"}`), "error"},
	"does not have the path":   {says(http.StatusNotFound, "404 page not found"), "error"},
	"does not take the token":  {says(http.StatusUnauthorized, `{"errcode":"M_UNKNOWN_TOKEN","error":"who?"}`), "error"},
	"answers JSON of no shape": {says(http.StatusForbidden, `["no"]`), "error"},
	"answers without end":      {says(http.StatusForbidden, `{"errcode":"M_FORBIDDEN","x":"`+strings.Repeat("x", 65<<10)+`"}`), "error"},
	"redirects":                {says(http.StatusFound, ""), "error"},
	"redirects in JSON":        {says(http.StatusTemporaryRedirect, "{}"), "error"},
	"answers 204":              {says(http.StatusNoContent, ""), "error"},
	"refuses in plain text":    {says(http.StatusForbidden, "go away"), "error"},
	"is compressed in secret":  {says(http.StatusForbidden, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"), "error"},
	"closes the connection":    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "error"},
	"cuts its reply":           {sends("HTTP/1.1 403 No\r\nContent-Length: 99\r\n\r\n" + `{"errcode":"M_FORBIDDEN"`), "error"},
	"cuts a chunk":             {sends("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n63\r\n" + `{"errcode":"M_FORBIDDEN"`), "error"},
	"has a header without end": {sends("HTTP/1.1 403 No\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n" + no), "error"},
	"speaks another protocol":  {sends("SSH-2.0-OpenSSH_9\r\n"), "error"},
	"is slow":                  {func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() }, "timeout"},
	"stops in its reply": {func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		says(http.StatusForbidden, `{"errcode"`)(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, "timeout"},
}

const no = `{"errcode":"M_FORBIDDEN","error":"no"}`

// sends is a server that closes the connection after that.
func sends(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return // It can always be had.
		}
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
	}
}

func TestAntispamServerRefusesInEachFormOfHTTP(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"1.0":             "HTTP/1.0 403 No\r\n\r\n" + no,
		"chunks":          "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n25\r\n" + no[1:] + "\r\n0\r\n\r\n",
		"a header before": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 38\r\n\r\n" + no,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(sends(text))
			t.Cleanup(s.Close)
			r := serve(t, parse(t, stateDir(t), "budget: 1m\nmodules:\n"+server("gate", s.URL, patient)))
			if out := r.create("evil"); !strings.Contains(out, `"error":"no"`) {
				t.Errorf("got %s", out)
			}
		})
	}
}

// patient is an entry whose server is not slow.
const patient = "    on_failure: skip\n    timeout: 1m\n"

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestBrokenAntispamServerIsAFailureAndNoRefusal(t *testing.T) {
	t.Parallel()
	down, foreign := httptest.NewServer(http.NotFoundHandler()), httptest.NewUnstartedServer(says(http.StatusForbidden, no))
	down.Close()
	foreign.Config.ErrorLog = log.New(io.Discard, "", 0) // It says that its certificate was not taken.
	foreign.StartTLS()
	t.Cleanup(foreign.Close)
	list, want := []string{server("down", down.URL, patient), server("foreign", foreign.URL, patient)}, map[string]string{"down": "error", "foreign": "error"}
	for _, name := range slices.Sorted(maps.Keys(brokenServers)) {
		b := brokenServers[name]
		s := httptest.NewServer(b.answer)
		t.Cleanup(s.Close)
		module, more := strings.ReplaceAll(name, " ", "-"), patient
		if b.failure == "timeout" {
			more = "    on_failure: skip\n    timeout: 50ms\n"
		}
		list = append(list, server(module, s.URL, more))
		want[module] = b.failure
	}
	r := serve(t, parse(t, stateDir(t), "budget: 1m\nmodules:\n"+strings.Join(list, "")+server("last", refusing(t, "@evil", "ORG.LAST").URL, patient)))
	out := r.create("evil")
	if !strings.Contains(out, `"decided_by":"last"`) {
		t.Errorf("got %s", out)
	}
	for module, failure := range want {
		if f := fmt.Sprintf(`{"module":%q,"failure":%q,"policy":"skip"}`, module, failure); !strings.Contains(out, f) {
			t.Errorf("%s has no %s", out, f)
		}
	}
}

// TestAntispamServerThatIsDownSaysSoAndComesBack starts the server after busd.
func TestAntispamServerThatIsDownSaysSoAndComesBack(t *testing.T) {
	t.Parallel()
	up := atomic.Bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !up.Load() {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(strings.Replace(string(body), "}", `,"status":"ok"}`, 1)))
	}))
	t.Cleanup(s.Close)
	r := serve(t, parse(t, stateDir(t), "modules:\n"+server("gate", s.URL, "    on_failure: refuse\n")))
	waittest.Until(t, "the module has failed", func() bool { return r.modules().Modules[0].State == roster.Failed })
	if m := r.modules().Modules[0]; !strings.Contains(m.LastError, "closed the connection") {
		t.Errorf("it says %q", m.LastError)
	}
	if out := r.create("good"); !strings.Contains(out, "refusal") {
		t.Errorf("while it is down: %s", out)
	}
	up.Store(true)
	waittest.Until(t, "the module is ready", func() bool { return r.modules().Modules[0].State == roster.Ready })
	if out := r.create("good"); strings.Contains(out, "refusal") {
		t.Errorf("when it is up: %s", out)
	}
}

func TestAntispamServerWhoseTokenComesLaterTakesPartThen(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	asking := fmt.Sprintf("  - module: gate\n    antispam: {base_url: '%s/base', callbacks: [user_may_create_room], token_file: '%s'}\n",
		refusing(t, "@evil", "ORG.NO").URL, token)
	r := serve(t, parse(t, stateDir(t), "modules:\n"+asking+"    on_failure: skip\n"))
	waittest.Until(t, "the module says what it lacks", func() bool { return strings.Contains(r.modules().Modules[0].LastError, token) })
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the server is asked", func() bool { return strings.Contains(r.create("evil"), "ORG.NO") })
}

// TestAntispamServerIsAskedAsThePackageAsks looks at a request on the wire.
func TestAntispamServerIsAskedAsThePackageAsks(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 8)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.HasSuffix(r.URL.Path, "/ping") {
			got <- fmt.Sprintf("%s %s|%v|%d|%s", r.Method, r.URL.Path, r.Header, r.ContentLength, body)
		}
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(s.Close)
	entry := "  - module: gate\n    antispam: {base_url: '" + s.URL + "/base', token_file: '" + token + "', callbacks: [user_may_create_room]}\n"
	r := serve(t, parse(t, stateDir(t), "modules:\n"+entry))
	r.create("good")
	want := `POST /base/user_may_create_room|map[Accept:[application/json] Accept-Encoding:[gzip] Authorization:[Bearer secret] Content-Length:[31] ` +
		`Content-Type:[application/json] User-Agent:[Synapse/1.163.2]]|31|{"user_id":"@good:example.com"}`
	if is := <-got; is != want {
		t.Errorf("asked\n%s, want\n%s", is, want)
	}
}

// TestAntispamServerThatIsToldIsNotWaitedFor has the server hold what it is told.
func TestAntispamServerThatIsToldIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	told, hold := make(chan string, 1), make(chan struct{})
	s := antispamServer(t, func(w http.ResponseWriter, body string) {
		told <- body
		<-hold
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("{}"))
	})
	list := "  - module: gate\n    antispam: {base_url: '" + s.URL + "', callbacks: [user_may_create_room], async: [user_may_create_room]}\n    on_failure: refuse\n    timeout: 1m\n"
	r := serve(t, parse(t, stateDir(t), "modules:\n"+list+"budget: 2m\n"))
	if out := r.create("evil"); strings.Contains(out, "refusal") {
		t.Errorf("got %s", out)
	}
	if body := <-told; body != `{"user_id":"@evil:example.com"}` {
		t.Errorf("told %s", body)
	}
	close(hold)
}

func TestAntispamServerIsReplacedWithoutARestart(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	r := serve(t, parse(t, dir, "modules:\n"+server("gate", refusing(t, "@evil", "ORG.OLD").URL)))
	if out := r.create("evil"); !strings.Contains(out, "ORG.OLD") {
		t.Errorf("got %s", out)
	}
	r.reload <- busd.Reload{Config: parse(t, dir, "modules:\n"+server("gate", refusing(t, "@evil", "ORG.NEW").URL))}
	waittest.Until(t, "the new server is asked alone", func() bool {
		return len(r.modules().Modules[0].WorkerList) == 1 && strings.Contains(r.create("evil"), "ORG.NEW")
	})
	r.reload <- busd.Reload{Config: parse(t, dir, "")}
	waittest.Until(t, "no server is asked", func() bool { return !strings.Contains(r.create("evil"), "refusal") })
}
