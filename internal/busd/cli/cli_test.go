package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busd/certs/certstest"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/waittest"
)

func TestAsk(t *testing.T) {
	t.Parallel()
	s := start(t, gate(`{deny: "@evil:example.com"}`))
	refused := []string{`"decided_by": "gate"`, `"M_FORBIDDEN"`}
	run(t, "ask", "user_may_create_room", `{"user_id": "@evil:example.com"}`, "--url", s.url).
		wants(t, 0, refused, []string{"busd: decided by gate, in "})
	runWith(t, `{"user_id": "@evil:example.com"}`, "ask", "spam_checker.user_may_create_room", "-", "--url", s.url).wants(t, 0, refused, nil)
	run(t, "ask", "user_may_create_room", "--url", s.url+"/").wants(t, 0, []string{`"failures": []`}, []string{"no module had an opinion, in "})
	run(t, "ask", "user_may_invite", "--url", s.url).wants(t, 0, []string{`"failures": []`}, []string{"no module was asked, in "})
	run(t, "ask", "user_may_join_room", `{"user_id": "@a:b"}`, "--url", s.url).
		wants(t, 1, nil, []string{"busd: unknown field", "(400 M_BAD_JSON)", `user_id`, "has the fields user, room", "see busd callbacks user_may_join_room"})
	run(t, "ask", "spam_checker.user_may_fly", "--url", s.url).wants(t, 1, nil, []string{"404", "user_may_create_room"})
	run(t, "ask", "user_may_create_rom", "--url", s.url).wants(t, 2, nil, []string{"busd: there is no callback", "did you mean user_may_create_room?"})
	run(t, "modules", "--url", s.url).wants(t, 0, []string{"ORDER", "gate", "ready", "1.2.3", "spam_checker.user_may_create_room"}, nil)
	run(t, "modules", "--json", "--url", s.url).wants(t, 0, []string{`"name": "gate"`, `"pid": `, `"taken_at": `}, nil)
	if got := run(t, "__complete", "restart", "--url", s.url, ""); !strings.HasPrefix(got.out, "gate\n") {
		t.Errorf("completion of modules: %q", got.out)
	}
}

func TestRestartReplacesEachWorker(t *testing.T) {
	t.Parallel()
	s := start(t, gate("{}"))
	pids := func() []int {
		var list operatordoor.ModuleList
		if err := json.Unmarshal([]byte(run(t, "modules", "--json", "--url", s.url).out), &list); err != nil {
			t.Fatal(err)
		}
		var pids []int
		for _, p := range list.Modules[0].Processes {
			pids = append(pids, p.PID)
		}
		return pids
	}
	before := pids()
	run(t, "restart", "gate", "--url", s.url).wants(t, 0, []string{"restarted gate: 1 of 1 workers are new"}, nil)
	if after := pids(); len(before) != 1 || len(after) != 1 || before[0] == after[0] {
		t.Errorf("processes %d before and %d after", before, after)
	}
	run(t, "modules", "--workers", "--url", s.url).wants(t, 0, []string{"PID", "UPTIME", "gate", "1.2.3"}, nil)
	run(t, "restart", "nobody", "--url", s.url).wants(t, 1, nil, []string{"busd: module nobody is not run by this busd: its list has gate"})
}

func TestReloadSaysWhatChanged(t *testing.T) {
	t.Parallel()
	s := start(t, gate("{}"))
	text, _ := os.ReadFile(s.file)
	rewrite(t, s.file, strings.ReplaceAll(string(text), "module: gate", "module: other")+"  - module: late\nbudget: 6s\n")
	find(t, s.log, `"added":\["other","late"\],"removed":\["gate"\],"restarted":\[\],"changed":\[\]`)
	rewrite(t, s.file, string(text)+"  - module: late\n    tiemout: 1s\n")
	find(t, s.log, "tiemout: is not a known key")
	run(t, "modules", "--url", s.url).wants(t, 0, []string{"other", "late"}, []string{"the configuration file is not good", "tiemout"})
	rsp, err := http.Get(s.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	metrics, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(metrics), "modulebus_config_last_reload_successful 0") {
		t.Error("no metric tells that the last reload failed")
	}
}

func TestCheckLooksAtFilesAndPrograms(t *testing.T) {
	t.Parallel()
	file := write(t, `server_name: example.com
nats: {credentials: none.creds, url: "nats://127.0.0.1:1"}
http: {token_file: open.token}
homeserver: {url: "http://127.0.0.1:1", token_file: empty.token}
modules:
  - module: a
    run: [no-such-program]
    grants: [rooms.send, rooms.send]
  - module: b
    run: [go, run, ./no-such-folder]
    timeout: 5
    on_failure: refuse
  - module: c
    timeout: 25h
`)
	folder := filepath.Dir(file)
	for name, text := range map[string]string{"open.token": "secret", "empty.token": ""} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := run(t, "check", file)
	got.wants(t, 2, nil, []string{
		file + ":2:21: nats.credentials: cannot read " + filepath.Join(folder, "none.creds"), "homeserver.token_file: " + filepath.Join(folder, "empty.token") + " is empty",
		`7:10: modules[0].run: cannot run "no-such-program"`, `8:26: modules[0].grants[1]: rooms.send is there twice (remove one)`, `modules[1].run: cannot run "./no-such-folder"`,
		"open.token can be read by everybody", "modules[1].timeout: 5ms is very short: a number without a unit is milliseconds (did you mean 5s?)",
		"modules[2].timeout: 25h is longer than NATS lets a module take", "modules[1].on_failure: holds for what the module has registered once",
	})
	if got.out != "" {
		t.Errorf("stdout %q", got.out)
	}
}

func TestCheckLooksIntoTheKeyOfThePolicyServer(t *testing.T) {
	t.Parallel()
	file := write(t, "server_name: example.com\nhomeserver: {url: 'http://127.0.0.1:1'}\npolicy_server: {key_file: a.key}\nmodules: []\n")
	run(t, "check", file).wants(t, 0, []string{"key_file"}, nil) // It will be made.
	key := filepath.Join(filepath.Dir(file), "a.key")
	if err := os.WriteFile(key, []byte("ed25519 a_1 AAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "check", file).wants(t, 2, nil, []string{file + ":3:27: policy_server.key_file: " + key + ": has a key that is not a policy server's"})
}

func TestCheckLooksIntoFilesOfTokens(t *testing.T) {
	t.Parallel()
	file := write(t, "server_name: example.com\nhttp: {token_file: lines, tokens: [{token_file: blank, scopes: [ask]}]}\nhomeserver: {url: 'http://127.0.0.1:1', token_file: zero}\n"+
		"modules: [{module: m, antispam: {base_url: 'http://127.0.0.1:1', token_file: two, callbacks: [user_may_invite]}}]\n")
	folder := filepath.Dir(file)
	for name, text := range map[string]string{"lines": "secret-a\nsecret-b\n", "blank": "\n \n", "zero": "secret\x00", "two": "secret\r\nsecret"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := run(t, "check", "--offline", file)
	got.wants(t, 2, nil, []string{
		"http.token_file: " + filepath.Join(folder, "lines") + " has more than one line", "http.tokens[0].token_file: " + filepath.Join(folder, "blank") + " is empty",
		"homeserver.token_file: " + filepath.Join(folder, "zero") + " has a character", "antispam.token_file: " + filepath.Join(folder, "two") + " has more than one line",
	})
	if strings.Contains(got.out+got.errors, "secret") {
		t.Errorf("it tells a token: %s", got.errors)
	}
}

// TestCheckLooksIntoCertificates has what would be found out only when a client connects, or when busd starts.
func TestCheckLooksIntoCertificates(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	if err := os.Chmod(a.File, 0o644); err != nil { // It is no secret.
		t.Fatal(err)
	}
	cert, key := a.Issue("localhost")
	_, another := a.Issue("localhost")
	old, oldKey := a.Issue("localhost")
	a.ReplaceUntil(old, oldKey, "localhost", time.Now().Add(-time.Minute))
	for text, want := range map[string]struct {
		status int
		says   string
	}{
		fmt.Sprintf("http: {tls: {cert: %q, key: %q, ca: %q}}", cert, key, a.File): {0, ""},
		fmt.Sprintf("http: {tls: {cert: %q, key: %q}}", cert, another):             {2, "http.tls: " + cert + " is not the certificate of the key in " + another},
		fmt.Sprintf("http: {tls: {cert: %q, key: %q}}", old, oldKey):               {0, "http.tls: " + old + " has expired at "},
		fmt.Sprintf("http: {tls: {cert: %q, key: %q, ca: %q}}", cert, key, key):    {2, "http.tls.ca: " + key + " has no certificate in PEM"},
		fmt.Sprintf("nats: {tls: {cert: %q, key: %q}}", cert, another):             {2, "nats.tls: " + cert + " is not the certificate"},
		fmt.Sprintf("nats: {tls: {ca: %q}}", a.File):                               {2, "nats.tls: has a ca and no cert"},
	} {
		got := run(t, "check", "--offline", write(t, "server_name: example.com\nmodules: []\n"+text+"\n"))
		if got.status != want.status || !strings.Contains(got.errors, want.says) || want.says == "" && got.errors != "" {
			t.Errorf("%s: status %d, %q", text, got.status, got.errors)
		}
	}
}

// TestCheckLeavesInAPipeWhatItHolds has certificates where they can be read once, as a shell brings them: <(command).
func TestCheckLeavesInAPipeWhatItHolds(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("localhost")
	for text, file := range map[string]string{
		"homeserver: {url: 'https://127.0.0.1:1', tls: {ca: %q}}": a.File,
		"http: {tls: {key: '" + key + "', cert: %q}}":             cert,
	} {
		written, err := os.ReadFile(file)
		pipe, in, noPipe := os.Pipe()
		if err := errors.Join(err, noPipe); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pipe.Close() })
		_, err = in.Write(written)
		if err := errors.Join(err, in.Close()); err != nil {
			t.Fatal(err)
		}
		text = fmt.Sprintf("server_name: example.com\nmodules: []\n"+text+"\n", fmt.Sprintf("/dev/fd/%d", pipe.Fd()))
		run(t, "check", "--offline", write(t, text)).wants(t, 0, nil, nil)
		if left, err := io.ReadAll(pipe); err != nil || !bytes.Equal(left, written) {
			t.Errorf("%s: %d bytes are left of %d; %v", text, len(left), len(written), err)
		}
	}
}

func TestCheckTriesTheNodesOfNATS(t *testing.T) {
	t.Parallel()
	file := write(t, "server_name: example.com\nnats: {url: 'nats://127.0.0.1:1'}\n")
	run(t, "check", "-c", file).wants(t, 0, []string{"url: nats://127.0.0.1:1"}, []string{"nats.url: ", "127.0.0.1:1", "warning"})
	if got := run(t, "check", "-c", file, "--offline"); got.errors != "" {
		t.Error(got.errors)
	}
}

func TestCheckHasModulesJudge(t *testing.T) {
	t.Parallel()
	good, bad := gate(`{deny: "@a:b"}`), strings.Replace(gate(`{denny: "@a:b"}`), "gate", "other", 1)
	run(t, "check", "--modules", write(t, base(t)+good+"  - module: late\n")).
		wants(t, 0, []string{"module: gate"}, []string{"modules[1]: is not run by busd, so its config was not judged (warning)"})
	run(t, "check", "--modules", write(t, base(t)+good+bad)).
		wants(t, 2, nil, []string{"modules[1]: is failed: config refused: denny"})
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	good := write(t, base(t))
	for name, tt := range map[string]struct {
		args   []string
		status int
		out    []string
		errors []string
	}{
		"help":                        {[]string{}, 0, []string{"serve", "check", "ask", "modules", "restart", "callbacks", "version", "BUSD_URL"}, nil},
		"an unknown command":          {[]string{"frobnicate"}, 2, nil, []string{`busd: unknown command "frobnicate"; see busd --help`}},
		"a misspelt command":          {[]string{"chek"}, 2, nil, []string{`busd: unknown command "chek"; did you mean check?`}},
		"an unknown flag":             {[]string{"modules", "--frobnicate"}, 2, nil, []string{"busd: unknown flag: --frobnicate; see busd modules --help"}},
		"too many arguments":          {[]string{"modules", "a"}, 2, nil, []string{`busd: busd modules does not take "a": busd modules [flags]; see busd modules --help`}},
		"version":                     {[]string{"version"}, 0, []string{"busd ", "commit ", "go1.", "wire 1"}, nil},
		"--version":                   {[]string{"--version"}, 0, []string{"busd ", "commit ", "go1.", "wire 1"}, nil},
		"check of no file":            {[]string{"check", good + ".not"}, 2, nil, []string{"busd: there is no " + good + ".not"}},
		"check":                       {[]string{"check", "--config", good}, 0, []string{"server_name: example.com", "# store_dir: "}, nil},
		"serve of no file":            {[]string{"serve", "-c", good + ".not"}, 2, nil, []string{"busd: there is no"}},
		"serve at no level":           {[]string{"serve", "--log-level", "loud"}, 2, nil, []string{"busd: --log-level", "debug"}},
		"serve in no format":          {[]string{"serve", "--log-format", "xml"}, 2, nil, []string{"busd: --log-format", "console"}},
		"ask of nothing":              {[]string{"ask"}, 2, nil, []string{"busd: busd ask lacks an argument: busd ask CATEGORY.CALLBACK", "see busd ask --help"}},
		"a URL without a scheme":      {[]string{"modules", "--url", "127.0.0.1:8010"}, 2, nil, []string{"busd: --url", "must begin with http://"}},
		"nobody there":                {[]string{"modules", "--url", "http://127.0.0.1:1"}, 1, nil, []string{"busd: cannot reach busd", "--url"}},
		"no token file":               {[]string{"modules", "--token-file", good + ".not"}, 2, nil, []string{"busd: --token-file: open"}},
		"a configuration of any port": {[]string{"modules", "--config", good}, 2, nil, []string{"any free port", "--url"}},
		"no callback":                 {[]string{"callbacks", "user_may_flyy"}, 2, nil, []string{`busd: there is no callback "user_may_flyy"`}},
		"all callbacks":               {[]string{"callbacks"}, 0, []string{"CATEGORY", "user_may_create_room", "fail (federated: skip)"}, nil},
		"callbacks in JSON":           {[]string{"callbacks", "--json"}, 0, []string{`"callback": "user_may_create_room"`, `"on_failure": "fail"`}, nil},
		"a callback": {[]string{"callbacks", "check_event_for_spam"}, 0, []string{
			"spam_checker.check_event_for_spam", "check_event_for_spam is asked", "rule", "on failure", "since Synapse", "request", "Event    ", "Refusal  ",
		}, nil},
		"an empty argument":         {[]string{"explain", ""}, 2, nil, []string{"busd: the first argument of busd explain is empty: busd explain ID"}},
		"an empty time":             {[]string{"tail", "--since", ""}, 2, nil, []string{"busd: --since is empty: say how long ago"}},
		"completion of no shell":    {[]string{"completion", "bsh"}, 2, nil, []string{`busd: unknown command "bsh"; did you mean bash?`}},
		"completion of callbacks":   {[]string{"__complete", "ask", "user_may_c"}, 0, []string{"user_may_create_room\n", "user_may_create_room_alias\n"}, nil},
		"completion of full names":  {[]string{"__complete", "callbacks", "spam_checker.user_may_c"}, 0, []string{"spam_checker.user_may_create_room\n"}, nil},
		"completion of a second":    {[]string{"__complete", "ask", "user_may_create_room", ""}, 0, []string{":4"}, nil},
		"completion of levels":      {[]string{"__complete", "serve", "--log-level", ""}, 0, []string{"trace\n", "error\n"}, nil},
		"completion from the file":  {[]string{"__complete", "restart", "--url", "http://127.0.0.1:1", "--config", write(t, base(t)+"  - module: late\n"), ""}, 0, []string{"late\n"}, nil},
		"completion of two modules": {[]string{"__complete", "restart", "a", ""}, 0, []string{":4"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t, tt.args...)
			got.wants(t, tt.status, tt.out, tt.errors)
			if tt.status != 0 && !strings.HasPrefix(got.errors, "busd: ") {
				t.Errorf("stderr does not begin with busd: %q", got.errors)
			}
		})
	}
}

func TestRemoteCommandsTakeURLAndTokenFromTheConfiguration(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer letmein" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"errcode": "M_MISSING_TOKEN", "error": "send Authorization"}`))
			return
		}
		_, _ = w.Write([]byte(`{"modules": [{"name": "gate"}]}`))
	}))
	t.Cleanup(server.Close)
	file := write(t, "server_name: a\nhttp: {listen: '"+strings.TrimPrefix(server.URL, "http://")+"', token_file: token}\n")
	run(t, "modules", "-c", file).wants(t, 2, nil, []string{"token"})
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "token"), []byte("letmein\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "modules", "-c", file).wants(t, 0, []string{"gate"}, nil)
	run(t, "modules", "--url", server.URL).wants(t, 1, nil, []string{"busd wants another token", "--token-file", "--config", "(401 M_MISSING_TOKEN)"})
	run(t, "restart", "gate", "--url", server.URL).wants(t, 1, nil, []string{"--token-file"})
}

// TestCommandSaysThatBusdDidNotAnswerInTime has something that takes requests and never answers.
func TestCommandSaysThatBusdDidNotAnswerInTime(t *testing.T) {
	t.Parallel()
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hangs.Close)
	for _, command := range []string{"modules", "tail"} {
		run(t, command, "--timeout", "10ms", "--url", hangs.URL).
			wants(t, 1, nil, []string{"busd: busd at " + hangs.URL + " has not answered within 10ms: see --timeout"})
	}
}

func TestRemoteCommandReportsOddAnswers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	t.Cleanup(server.Close)
	run(t, "modules", "--url", server.URL).wants(t, 1, nil, []string{"not what this version knows"})
	run(t, "modules", "--json", "--url", server.URL).wants(t, 1, nil, []string{"not JSON"})
	run(t, "restart", "gate", "--url", server.URL).wants(t, 1, nil, []string{"not what this version knows"})
}

func TestModulesShowsWhatIsWrong(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	failing := operatordoor.ModuleStatus{Status: roster.Status{
		Name: "gate", Order: 1, State: roster.Ready, Since: now.Add(-90 * time.Minute), Workers: 2, LastError: "timeout", LastErrorAt: now.Add(-2 * time.Minute),
		Failing:    []roster.Failing{{Callback: "a.b"}},
		WorkerList: []roster.Worker{{Name: "w1", Since: now.Add(-50 * time.Hour)}, {Name: "elsewhere", Since: now.Add(-time.Second)}},
	}, Processes: []operatordoor.Process{
		{Worker: "w1", PID: 42, StartedAt: now.Add(-51 * time.Hour)},
		{Worker: "w2", Restarts: 7, LastError: "panic: boom", LastErrorAt: now.Add(-3 * time.Second)},
	}}
	absent := operatordoor.ModuleStatus{Status: roster.Status{Name: "late", Order: 2, State: roster.Absent, Remembered: true, LastError: "no worker has joined"}}
	var table, workers strings.Builder
	if err := printModules(&table, []operatordoor.ModuleStatus{failing, absent}, now); err != nil {
		t.Fatal(err)
	}
	if err := printWorkers(&workers, []operatordoor.ModuleStatus{failing, absent}, now); err != nil {
		t.Fatal(err)
	}
	result{out: table.String()}.wants(t, 0, []string{"ready, failing", "1h30m", "2m ago: timeout", "absent, remembered", "no worker has joined"}, nil)
	result{out: workers.String()}.wants(t, 0, []string{"w1", "2d ago", "42", "elsewhere", "1s ago", "w2", "7", "3s ago: panic: boom"}, nil)
}

func TestFileIsTakenOverWhenItHasSettled(t *testing.T) {
	t.Parallel()
	old, half, whole := []byte("old"), []byte("ha"), []byte("half, whole")
	w := &watcher{taken: old, seen: old}
	now := time.Time{}
	look := func(after time.Duration, data []byte) bool { now = now.Add(after); return w.settled(now, data) }
	for range 200 { // A writer that never rests.
		if look(lookEvery, half) || look(lookEvery, whole) {
			t.Fatal("taken over while it changes")
		}
	}
	if look(stillness-lookEvery, whole) || !look(lookEvery, whole) {
		t.Error("a file counts when it has stayed for", stillness)
	}
	if look(time.Hour, whole) {
		t.Error("taken over twice")
	}
	if look(lookEvery, half) || look(2500*time.Millisecond, half) || look(lookEvery, whole) || look(time.Hour, whole) {
		t.Error("half a file was taken over, or the same again")
	}
}

func TestWatchDoesNotWaitForAPipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "busd.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := read(pipe); err == nil {
		t.Errorf("got %q of a pipe into which nobody writes", data)
	}
}

func TestDecisionIsExplained(t *testing.T) {
	t.Parallel()
	s := start(t, gate(`{deny: "@evil:example.com"}`))
	told := run(t, "ask", "user_may_create_room", `{"user_id": "@evil:example.com"}`, "--explain", "--url", s.url)
	told.wants(t, 0, []string{`"decision_id": "d-`, "refused by gate", "refusal M_FORBIDDEN", "yes: it decided", "ORDER"}, nil)
	id := regexp.MustCompile(`d-\w+`).FindString(told.out)
	run(t, "explain", id, "--url", s.url).wants(t, 0, []string{id, "spam_checker.user_may_create_room: refused by gate"}, nil)
	run(t, "explain", id, "--json", "--url", s.url).wants(t, 0, []string{`"id": "` + id + `"`, `"said": "refusal"`}, nil)
	run(t, "explain", "d-none", "--url", s.url).wants(t, 1, nil, []string{`there is no record "d-none": busd keeps the last 4096`})
	run(t, "ask", "user_may_invite", "--explain", "--url", s.url).wants(t, 0, []string{"no module was asked"}, nil)
	run(t, "ask", "user_may_create_room", "--url", s.url).wants(t, 0, nil, nil)

	tail := func(args ...string) result { return run(t, append([]string{"tail", "--url", s.url}, args...)...) }
	if got := tail("--since", "1h"); got.status != 0 || strings.Count(got.out, "\n") != 2 {
		t.Errorf("tail: %+v", got)
	}
	if got := tail("--since", "1h", "--refused", "--json"); strings.Count(got.out, "\n") != 1 || !strings.HasPrefix(got.out, `{"id":"`+id) {
		t.Errorf("tail --refused: %+v", got)
	}
	tail("--since", "1h", "--failed").wants(t, 0, nil, nil)
	tail("--callback", "nobody").wants(t, 1, nil, []string{"busd callbacks lists them"})
}

func TestTailFollowsUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	s := start(t, gate(`{deny: "@evil:example.com"}`))
	out := new(waittest.Log)
	ctx, cancel := context.WithCancel(t.Context())
	status := make(chan int, 1)
	go func() {
		status <- Execute(ctx, []string{"tail", "--since", "1h", "--follow", "--url", s.url}, Streams{Out: out, Err: out})
	}()
	for range 2 {
		run(t, "ask", "user_may_create_room", `{"user_id": "@evil:example.com"}`, "--url", s.url)
	}
	find(t, out, `(?s)refused  by gate.*refused  by gate`)
	cancel()
	if got := <-status; got != exitOK {
		t.Errorf("status %d:\n%s", got, out)
	}
}

// TestShadowAndReplayPredictWhatThenHappens tries a change in both ways, makes it, and looks.
func TestShadowAndReplayPredictWhatThenHappens(t *testing.T) {
	t.Parallel()
	const timeout, budget = "    timeout: 30s\n", "budget: 50s\n"
	next := strings.ReplaceAll(gate(`{deny: "@new:example.com"}`), "module: gate", "module: next") + timeout
	old := gate(`{deny: "@evil:example.com"}`) + timeout
	s := start(t, next+"    shadow: true\n"+old+budget)
	users := []string{"@new:example.com", "@evil:example.com", "@alice:example.com"}
	ask := func() (decided []string) {
		for _, user := range users {
			var d struct {
				By string `json:"decided_by"`
			}
			got := run(t, "ask", "user_may_create_room", `{"user_id": "`+user+`"}`, "--url", s.url)
			if err := json.Unmarshal([]byte(got.out), &d); err != nil {
				t.Fatal(err, got)
			}
			decided = append(decided, d.By)
		}
		return decided
	}
	if got := ask(); !slices.Equal(got, []string{"", "gate", ""}) {
		t.Errorf("in shadow it counts: %q", got)
	}
	run(t, "modules", "--url", s.url).wants(t, 0, []string{"ready, in shadow"}, nil)
	run(t, "ask", "user_may_create_room", "--explain", "--url", s.url).wants(t, 0, []string{"no: it is in shadow"}, nil)

	waittest.Until(t, "there are records of all asks, which come when the module in shadow has spoken", func() bool {
		return strings.Count(run(t, "tail", "--since", "1h", "--json", "--url", s.url).out, "\n") >= 4
	})
	shadow := run(t, "shadow", "next", "--url", s.url)
	shadow.wants(t, 0, []string{"spam_checker.user_may_create_room", "was no opinion, would be refused by next"}, nil)
	if strings.Count(shadow.out, "would be") != 1 {
		t.Errorf("shadow:\n%s", shadow.out)
	}
	run(t, "shadow", "gate", "--url", s.url).wants(t, 0, nil, []string{"does its entry say shadow: true"})
	run(t, "shadow", "nxt", "--json", "--url", s.url).
		wants(t, 0, []string{"[]\n"}, []string{`there is no module "nxt" now (did you mean next?)`, "does its entry say shadow: true"})
	run(t, "tail", "--since", "1h", "--module", "nobody", "--url", s.url).
		wants(t, 0, nil, []string{"busd: there are no such records", `there is no module "nobody" now (busd modules lists them)`})
	run(t, "tail", "--since", "soon", "--url", s.url).wants(t, 1, nil, []string{"busd: since is neither a duration", "(400 M_INVALID_PARAM)"})

	same, text := run(t, "replay", "--since", "1h", "--config", s.file, "--url", s.url), base(t)
	same.wants(t, 0, []string{"4 records: 0 differ, 0 unknown"}, nil)
	counting, without := write(t, text+next+old+budget), write(t, text+next+"    shadow: true\n"+budget)
	run(t, "replay", "--since", "1h", "--config", counting, "--url", s.url).
		wants(t, 3, []string{"was no opinion, would be refused by next", "4 records: 1 differ"}, nil)
	run(t, "replay", "--since", "1h", "--config", without, "--url", s.url).
		wants(t, 3, []string{"was refused by gate, would be no opinion", "4 records: 1 differ"}, nil)
	recorded := write(t, run(t, "tail", "--since", "1h", "--json", "--url", s.url).out)
	run(t, "replay", "--file", recorded, "--config", counting, "--json").wants(t, 3, []string{`"would_be":{"outcome":"refused","decided_by":"next"`, `{"records":4,"differ":1`}, nil)
	run(t, "replay", "--file", write(t, "no record\n"), "--config", counting).wants(t, 2, nil, []string{":1: this is no record"})
	run(t, "replay", "--since", "1h", "--ask", "--url", s.url).wants(t, 0, []string{"4 records: 0 differ, 4 unknown"},
		[]string{"4 unknown: the record has no request: decisions.requests was false"})

	data, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, s.file, strings.Replace(string(data), "shadow: true", "shadow: false", 1))
	find(t, s.log, "took over the new configuration")
	waittest.Until(t, "the change decides", func() bool { return slices.Equal(ask(), []string{"next", "gate", ""}) })
}
