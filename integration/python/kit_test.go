//go:build integration

package python_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"github.com/modulebus/modulebus/integration/testbed"
)

const (
	evil  = "@evilguy:example.com"
	alice = "@alice:example.com"
	page  = "/_synapse/client/everything"
)

func absolute(t *testing.T, path string) string {
	t.Helper()
	out, err := filepath.Abs(filepath.Join(testbed.Root, path))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// runs is the list with one module, testdata/<name>.py, and its entry.
func runs(t *testing.T, name, config, more string) string {
	t.Helper()
	return fmt.Sprintf(`
modules:
  - module: %s
    run: [env, "PYTHONPATH=%s", %s, %s]
    config: %s
%s`, name, absolute(t, "bridges/python"), testbed.Python(t), absolute(t, "integration/python/testdata/"+name+".py"), config, more)
}

// everything has busd run a module that does one of each thing.
func everything(t *testing.T, config, more string) string {
	t.Helper()
	return runs(t, "everything", config, more)
}

func serve(t *testing.T) *testbed.Daemon {
	t.Helper()
	return testbed.Serve(t, everything(t, `{deny: ["`+evil+`"]}`, ""))
}

func TestKitPassesItsOwnTestsAndTypeChecks(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"pytest": {"-m", "pytest", "-q", "-p", "no:cacheprovider"},
		"mypy":   {"-m", "mypy", "--cache-dir", filepath.Join(t.TempDir(), "mypy")},
	} {
		c := exec.CommandContext(t.Context(), testbed.Python(t), args...)
		c.Dir = absolute(t, "bridges/python")
		c.Env = append(os.Environ(), "PYTHONPATH=.", "PYTHONDONTWRITEBYTECODE=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestCallbackRefusesAbstainsAndFails(t *testing.T) {
	t.Parallel()
	d := serve(t)
	refused := d.Create(evil)
	if !refused.Refused() || refused.DecidedBy != "everything" || refused.Answer.Refusal.AdditionalFields["org.example"] == nil {
		t.Errorf("%s: %v; want a refusal", evil, refused)
	}
	if got := d.Create(alice); got.Answer != nil || got.Status != http.StatusOK {
		t.Errorf("%s: %v; want no opinion", alice, got)
	}
	if got := d.Create("@bug:example.com"); got.Failure != "panic" || strings.Contains(got.Error, "secret") {
		t.Errorf("a callback that raises: %v; want a panic that says nothing of what was asked", got)
	}
	if got := d.Create("@large:example.com"); got.Failure != "error" {
		t.Errorf("an answer that NATS cannot carry: %v; want the failure that says so", got)
	}
	if got := d.Create("@hangs:example.com"); got.Failure != "timeout" {
		t.Errorf("a callback that hangs: %v; want a timeout", got)
	}
}

func TestExampleRefusesAndSaysHello(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, fmt.Sprintf(`
modules:
  - module: gate
    run: [env, "PYTHONPATH=%s", %s, %s]
    config: {deny: ["`+evil+`"]}
`, absolute(t, "bridges/python"), testbed.Python(t), absolute(t, "examples/python/kit.py")))
	if !d.Create(evil).Refused() || d.Create(alice).Refused() {
		t.Error("the example refuses somebody else than its configuration says")
	}
	if _, out := d.Request(http.MethodGet, "/_synapse/client/gate/hello?name=alice", nil); string(out) != `{"hello": "alice"}` {
		t.Errorf("its page says %s", out)
	}
}

func TestQuestionsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, everything(t, "{}", "    timeout: 20s\n"))
	var asked sync.WaitGroup
	for range 100 { // One after the other, these would take 30 s.
		asked.Go(func() {
			if got := d.Create("@slow:example.com"); got.Status != http.StatusOK {
				t.Error(got)
			}
		})
	}
	asked.Wait()
}

func TestModuleFollowsItsConfiguration(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, everything(t, "{}", ""))
	if got := d.Create(evil); got.Answer != nil {
		t.Fatalf("before the change: %v", got)
	}
	d.Reconfigure(everything(t, `{deny: ["`+evil+`"]}`, ""))
	d.Signal(syscall.SIGHUP)
	testbed.Eventually(t, "the new configuration holds", func() bool { return d.Create(evil).Refused() })
	d.Reconfigure(everything(t, `{deny: oops}`, ""))
	d.Signal(syscall.SIGHUP)
	testbed.Eventually(t, "busd shows why it was refused", func() bool {
		_, out := d.Request(http.MethodGet, "/_modulebus/v1/modules", nil)
		return bytes.Contains(out, []byte("must be a list of user IDs"))
	})
	if !d.Create(evil).Refused() {
		t.Error("with a configuration that it refuses, the module does not go on with the old one")
	}
}

func TestModuleThatRefusesItsConfigurationEndsWith78(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n  - module: everything\n    config: {deny: oops}\n")
	p := testbed.Execute(t, testbed.Python(t), absolute(t, "integration/python/testdata/everything.py")).With(
		"PYTHONPATH=" + absolute(t, "bridges/python")).With(d.Environment("everything")...)
	if status, _, stderr := p.Run(); status != 78 || !strings.Contains(stderr, "deny: must be a list of user IDs") {
		t.Errorf("status %d, want 78; it says\n%s", status, stderr)
	}
}

func TestWorkerThatIsStoppedLosesNoQuestion(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, everything(t, `{deny: ["`+evil+`"]}`, "    workers: 2\n    on_failure: fail\n"))
	testbed.Eventually(t, "both workers run", func() bool { return d.Stderr.Count("worker started") == 2 })
	testbed.Eventually(t, "both workers have joined", func() bool { return workers(d) == 2 })
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range 16 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := d.Create(evil); !got.Refused() {
					t.Error(got)
				}
			}
		})
	}
	var first struct{ PID int }
	if err := json.Unmarshal([]byte(d.Stderr.Lines("worker started")[0]), &first); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "another has taken its place", func() bool { return d.Stderr.Count("worker started") == 3 })
	close(stop)
	asking.Wait()
}

// workers is how many workers of the module have joined.
func workers(d *testbed.Daemon) int {
	_, out := d.Request(http.MethodGet, "/_modulebus/v1/modules", nil)
	var status struct{ Modules []struct{ Workers any } }
	if json.Unmarshal(out, &status) != nil || len(status.Modules) == 0 {
		return 0
	}
	switch w := status.Modules[0].Workers.(type) {
	case float64:
		return int(w)
	case []any:
		return len(w)
	}
	return 0
}

func TestCallToAHomeserverThatIsNotThereIsTheModulesFailure(t *testing.T) {
	t.Parallel()
	d := serve(t)
	rsp, out := d.Request(http.MethodPost, "/_modulebus/v1/ask/spam_checker/user_may_join_room",
		[]byte(`{"user":"@a:example.com","room":"!r:example.com"}`))
	if rsp.StatusCode != http.StatusBadGateway || !bytes.Contains(out, []byte("panic")) {
		t.Errorf("%s: %s; want the module's failure", rsp.Status, out)
	}
}

func TestPageIsAnsweredByAnASGIApplication(t *testing.T) {
	t.Parallel()
	d := serve(t)
	if _, out := d.Request(http.MethodGet, page+"/hello?name=%C3%A4", nil); string(out) != `{"hello":"ä","proto":"http"}` {
		t.Errorf("GET: %s", out)
	}
	rsp, out := d.Request(http.MethodHead, page+"/hello", nil)
	if rsp.StatusCode != http.StatusOK || len(out) > 0 || rsp.ContentLength <= 0 {
		t.Errorf("HEAD: %s, %d bytes, Content-Length %d", rsp.Status, len(out), rsp.ContentLength)
	}
	rsp, out = d.Request(http.MethodGet, page+"/download", nil)
	if len(out) != 32<<20 || rsp.Header.Get("X-Kind") != "zeros" {
		t.Errorf("a download has %d bytes and header %v", len(out), rsp.Header)
	}
	body := make([]byte, 24<<20)
	_, _ = rand.Read(body)
	sum := sha256.Sum256(body)
	want := fmt.Sprintf(`{"size":%d,"sha256":"%s"}`, len(body), hex.EncodeToString(sum[:]))
	if _, out = d.Request(http.MethodPost, page+"/upload", body); string(out) != want {
		t.Errorf("an upload: %s, want %s", out, want)
	}
	if rsp, _ = d.Request(http.MethodGet, page+"/nothing", nil); rsp.StatusCode != http.StatusNotFound {
		t.Errorf("a page that the application does not have: %s", rsp.Status)
	}
}

func TestPageHasEarlyHintsAndTrailers(t *testing.T) {
	t.Parallel()
	d := serve(t)
	var hinted []string
	ctx := httptrace.WithClientTrace(testbed.Bounded(t), &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		hinted = append(hinted, fmt.Sprint(code, " ", header.Get("Link")))
		return nil
	}})
	for method, want := range map[string]string{http.MethodGet: "body", http.MethodHead: ""} {
		hinted = nil
		req, err := http.NewRequestWithContext(ctx, method, d.URL+page+"/trailing", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		rsp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(rsp.Body)
		_ = rsp.Body.Close()
		if string(body) != want || err != nil || rsp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %q, %v", method, rsp.Status, body, err)
		}
		if !slices.Equal(hinted, []string{"103 </style.css>; rel=preload"}) {
			t.Errorf("%s: 1xx responses %q", method, hinted)
		}
		if got := rsp.Trailer; method == http.MethodGet && (got.Get("X-First") != "1" || got.Get("X-Last") != "2") {
			t.Errorf("trailers %v", got)
		}
	}
}

func TestPageThatFailsIsSeenToFail(t *testing.T) {
	t.Parallel()
	d := serve(t)
	if rsp, out := d.Request(http.MethodGet, page+"/broken", nil); rsp.StatusCode != http.StatusInternalServerError || bytes.Contains(out, []byte("secret")) {
		t.Errorf("a handler that raises: %s %s", rsp.Status, out)
	}
	rsp, out, err := d.Try(http.MethodGet, page+"/cut", nil)
	if err == nil {
		t.Errorf("a response that is cut looks whole: %s %q", rsp.Status, out)
	}
}

func TestPageThatStreamsEndsWhenTheClientLeaves(t *testing.T) {
	t.Parallel()
	d := serve(t)
	req, err := http.NewRequestWithContext(testbed.Bounded(t), http.MethodGet, d.URL+page+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	rsp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	begin := make([]byte, len("data: 0\n\ndata: 1\n\n"))
	if _, err := io.ReadFull(rsp.Body, begin); err != nil || !strings.HasPrefix(string(begin), "data: 0\n\ndata: 1") {
		t.Errorf("%q, %v", begin, err)
	}
	_ = rsp.Body.Close()
	client.CloseIdleConnections()
	testbed.Eventually(t, "the application is told", func() bool { return d.Stderr.Count("events ended") > 0 })
}

func TestPageWithAWebSocket(t *testing.T) {
	t.Parallel()
	d := serve(t)
	ctx := testbed.Bounded(t)
	url := strings.Replace(d.URL, "http", "ws", 1) + page
	c, _, err := websocket.Dial(ctx, url+"/echo", &websocket.DialOptions{Subprotocols: []string{"other", "echo"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	if c.Subprotocol() != "echo" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	c.SetReadLimit(4 << 20)
	for _, text := range []string{"hi", strings.Repeat("ä", 500_000)} {
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != text {
			t.Fatalf("%d bytes came back, %v", len(got), err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("closing: %v", err)
	}
	if _, rsp, err := websocket.Dial(ctx, url+"/refuse", nil); err == nil || rsp == nil || rsp.StatusCode != http.StatusForbidden {
		t.Errorf("a WebSocket that the application refuses: %v", err)
	}
}
