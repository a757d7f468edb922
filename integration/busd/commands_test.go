package busd_test

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/subjects"
)

func TestCommandsAnswerOnStdoutAndComplainOnStderr(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate")+"  - module: late\n    on_failure: skip\n")
	nobody := "http://" + testbed.FreeAddress(t)
	for _, c := range []struct {
		name   string
		args   []string
		stdin  string
		status int
		stdout []string
		stderr []string
	}{
		{name: "an ask that is refused is decided", args: []string{"ask", "spam_checker.user_may_create_room", `{"user_id": "@refused:example.com"}`, "--url", d.URL}, stdout: []string{`"decided_by": "gate"`, `"M_FORBIDDEN"`, `"roster_revision"`}, stderr: []string{"busd: decided by gate, in "}},
		{name: "an ask without an opinion is decided", args: []string{"ask", "user_may_create_room", `{"user_id": "@a:example.com"}`, "--url", d.URL}, stdout: []string{`"failures": []`}, stderr: []string{"no module had an opinion"}},
		{name: "an ask from stdin", args: []string{"ask", "user_may_create_room", "-", "--url", d.URL}, stdin: `{"user_id": "@refused:example.com"}`, stdout: []string{`"decided_by": "gate"`}},
		{name: "an ask without a request", args: []string{"ask", "user_may_create_room", "--url", d.URL}, stdout: []string{`"failures": []`}},
		{name: "an ask of a field that there is not", args: []string{"ask", "user_may_join_room", `{"user_id": "@a:b"}`, "--url", d.URL}, status: 1, stderr: []string{"user_id", "is_invited", "busd callbacks user_may_join_room"}},
		{name: "an ask of a callback that there is not", args: []string{"ask", "user_may_creat_room", "--url", d.URL}, status: 2, stderr: []string{"did you mean user_may_create_room?"}},
		{name: "an ask that fails", args: []string{"ask", "user_may_create_room", `{"user_id": "@error:example.com"}`, "--url", d.URL}, status: 1, stderr: []string{"502", "gate", "error"}},
		{name: "an ask of an unknown callback", args: []string{"ask", "spam_checker.user_may_fly", "--url", d.URL}, status: 1, stderr: []string{"404", "user_may_fly", "user_may_create_room"}},
		{name: "an ask that is no JSON", args: []string{"ask", "user_may_create_room", "{", "--url", d.URL}, status: 1, stderr: []string{"400", "M_NOT_JSON"}},
		{name: "an ask without a busd", args: []string{"ask", "user_may_create_room", "--url", nobody}, status: 1, stderr: []string{"cannot reach busd", "--url"}},
		{name: "an ask of nothing", args: []string{"ask"}, status: 2, stderr: []string{"busd ask", "--help"}},
		{name: "modules", args: []string{"modules", "--url", d.URL}, stdout: []string{"ORDER", "gate", "ready", "0.0.1", "late", "absent", "spam_checker.user_may_create_room", "/_synapse/client/gate", "MODULEBUS_MODULE=late"}},
		{name: "modules in JSON", args: []string{"modules", "--json", "--url", d.URL}, stdout: []string{`"name": "gate"`, `"state": "ready"`, `"order": 1`}},
		{name: "modules without a busd", args: []string{"modules", "--url", nobody}, status: 1, stderr: []string{"cannot reach busd", "--url"}},
		{name: "the catalogue", args: []string{"callbacks"}, stdout: []string{"CATEGORY", "user_may_create_room", "FIRST", "fail (federated: skip)"}},
		{name: "one callback", args: []string{"callbacks", "user_may_create_room"}, stdout: []string{"spam_checker.user_may_create_room", "user_id", "refusal"}},
		{name: "no callback", args: []string{"callbacks", "user_may_fly"}, status: 2, stderr: []string{"user_may_fly"}},
		{name: "check", args: []string{"check", "--config", d.File}, stdout: []string{"server_name: example.com", "module: gate", "module: late"}},
		{name: "check without a file", args: []string{"check", "--config", d.File + ".not"}, status: 2, stderr: []string{".not"}},
		{name: "check of a file", args: []string{"check", d.File}, stdout: []string{"server_name: example.com"}},
		{name: "version", args: []string{"version"}, stdout: []string{"busd ", "commit ", "go1.", "wire 1"}},
		{name: "version as a flag", args: []string{"--version"}, stdout: []string{"busd ", "commit "}},
		{name: "a URL without a scheme", args: []string{"modules", "--url", "127.0.0.1:8010"}, status: 2, stderr: []string{"must begin with http://"}},
		{name: "an unknown command", args: []string{"frobnicate"}, status: 2, stderr: []string{"frobnicate"}},
		{name: "an unknown flag", args: []string{"modules", "--frobnicate"}, status: 2, stderr: []string{"frobnicate", "--help"}},
		{name: "a log level that is none", args: []string{"serve", "--config", d.File, "--log-level", "loud"}, status: 2, stderr: []string{"loud", "debug"}},
		{name: "help", args: []string{"--help"}, stdout: []string{"serve", "check", "ask", "modules", "callbacks", "version"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := testbed.Command(t, testbed.Busd, c.args...)
			p.Cmd.Stdin = strings.NewReader(c.stdin)
			status, stdout, stderr := p.Run()
			if status != c.status {
				t.Errorf("exit status %d, want %d", status, c.status)
			}
			contains(t, "stdout", stdout, c.stdout...)
			contains(t, "stderr", stderr, c.stderr...)
			if c.status == 0 && stderr != "" && c.args[0] != "ask" || c.status != 0 && stdout != "" {
				t.Errorf("stdout %q and stderr %q with exit status %d", stdout, stderr, status)
			}
		})
	}
}

func TestFlagsAreEnvironmentVariablesToo(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate"))
	status, stdout, _ := testbed.Command(t, testbed.Busd, "modules").With("BUSD_URL="+d.URL, "BUSD_JSON=true").Run()
	if status != 0 || !json.Valid([]byte(stdout)) {
		t.Errorf("exit status %d, stdout %s", status, stdout)
	}
	status, _, stderr := testbed.Command(t, testbed.Busd, "modules").With("BUSD_TIMEOUT=soon").Run()
	if status != 2 {
		t.Errorf("exit status %d, want 2", status)
	}
	contains(t, "stderr", stderr, "BUSD_TIMEOUT", "soon")
}

func TestCatalogueInJSONHasEveryCallback(t *testing.T) {
	t.Parallel()
	_, stdout, _ := testbed.Run(t, "callbacks", "--json")
	var list []struct {
		Category, Callback, Rule, Since string
		OnFailure                       string `json:"on_failure"`
	}
	if err := json.Unmarshal([]byte(stdout), &list); err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, c := range list {
		listed[c.Category+"."+c.Callback] = true
		if c.Rule == "" || c.OnFailure == "" || c.Since == "" {
			t.Errorf("something is missing in %+v", c)
		}
	}
	for _, d := range subjects.All() {
		if !listed[d.FullName()] && !d.FollowUp() {
			t.Errorf("%s is missing", d.FullName())
		}
	}
}

func TestTokenIsRequiredBeyondLoopback(t *testing.T) {
	t.Parallel()
	status, _, stderr := testbed.Prepare(t, "http: {listen: '0.0.0.0:0'}\n").Run()
	if status != 2 {
		t.Errorf("exit status %d, want 2", status)
	}
	contains(t, "stderr", stderr, "http.token_file", "0.0.0.0")
	file := filepath.Join(t.TempDir(), "http.token")
	status, _, stderr = testbed.Prepare(t, "http: {listen: '0.0.0.0:0', token_file: '"+file+"'}\n").Run()
	if status != 1 {
		t.Errorf("without the file: exit status %d, want 1", status)
	}
	contains(t, "stderr", stderr, "http.token_file", file)
	testbed.Write(t, file, "  \n")
	status, _, stderr = testbed.Prepare(t, "http: {listen: '0.0.0.0:0', token_file: '"+file+"'}\n").Run()
	if status != 1 {
		t.Errorf("with an empty file: exit status %d, want 1", status)
	}
	contains(t, "stderr", stderr, "http.token_file", "empty")
	testbed.Write(t, file, "letmein\n")
	d := testbed.Serve(t, "http: {listen: '0.0.0.0:0', token_file: '"+file+"'}\nmodules:\n"+faulty(t, "gate"))
	if !regexp.MustCompile(`HTTP at http://127\.0\.0\.1:\d+,`).MatchString(d.Announce) {
		t.Errorf("an address that no client can use: %s", d.Announce)
	}
	if v := d.Create("@a:example.com"); v.Status != 401 || v.Errcode != "M_MISSING_TOKEN" {
		t.Error(v)
	}
	status, _, stderr = testbed.Run(t, "modules", "--url", d.URL)
	if status != 1 {
		t.Errorf("busd modules without the token: exit status %d, want 1", status)
	}
	contains(t, "stderr", stderr, "401", "M_MISSING_TOKEN")
	if status, stdout, _ := testbed.Run(t, "modules", "--url", d.URL, "--token-file", file); status != 0 || !strings.Contains(stdout, "gate") {
		t.Errorf("busd modules with the token: exit status %d, stdout %q", status, stdout)
	}
	d.Stop()
}
