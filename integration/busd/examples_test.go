package busd_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/busd/config"
)

func TestExampleConfigurationsAreRead(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range append(files, "../../deploy/compose/busd.yaml") {
		if _, err := config.Read(file); err != nil {
			t.Error(err)
		}
	}
}

var tries = regexp.MustCompile(`; try: (curl .*) and: (curl .*)$`)

// TestDemoAnnouncesCommandsThatWork runs examples/demo.yaml, but for its ports, which may be taken, and for go run,
// which builds what is built already; and then, through a shell, the two commands that busd tells the operator to try.
func TestDemoAnnouncesCommandsThatWork(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../examples/demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	replaced := strings.NewReplacer(":4222", ":0", ":8010", ":0", "[go, run, ./cmd/demo-module]", "["+testbed.Program(t, testbed.Demo)+"]").Replace(string(text))
	if strings.Contains(replaced, "go, run") || strings.Contains(replaced, "4222") {
		t.Fatalf("examples/demo.yaml is not what this test takes it for:\n%s", text)
	}
	d := testbed.Serve(t, replaced)
	if m := d.Module("demo"); m.Workers != 2 || m.State != "ready" {
		t.Errorf("announced with %+v; want both workers to be there", m)
	}
	m := tries.FindStringSubmatch(d.Announce)
	if m == nil {
		t.Fatalf("no two commands in %q", d.Announce)
	}
	for _, out := range shells(t, m[1]) {
		var decision testbed.Verdict
		if err := json.Unmarshal(out, &decision); err != nil || !decision.Refused() || decision.Answer.Refusal.Errcode != "M_FORBIDDEN" || decision.DecidedBy != "demo" {
			t.Errorf("%s: %s; want module demo to refuse", m[1], out)
		}
	}
	for _, out := range shells(t, m[2]) {
		if strings.TrimSpace(string(out)) != `{"hello":"alice"}` {
			t.Errorf("%s: %s; want hello alice", m[2], out)
		}
	}
	d.Stop()
}

func TestDemoCommandsWorkWithATokenToo(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "it's a token") // Whatever the file is called.
	testbed.Write(t, token, "letmein\n")
	file := strings.ReplaceAll(token, "'", "''")
	d := testbed.Serve(t, "http: {listen: '127.0.0.1:0', token_file: '"+file+"'}\nmodules:\n"+faulty(t, "gate"))
	m := tries.FindStringSubmatch(d.Announce)
	if m == nil {
		t.Fatalf("no two commands in %q", d.Announce)
	}
	for _, out := range shells(t, m[1]) {
		if !strings.Contains(string(out), `"roster_revision"`) {
			t.Errorf("%s: %s", m[1], out)
		}
	}
	for _, out := range shells(t, m[2]) {
		if !strings.Contains(string(out), `{"bytes":0}`) {
			t.Errorf("%s: %s", m[2], out)
		}
	}
	d.Stop()
}

// shells runs a command as an operator who pastes it does: with curl, if there is one, and with a program that knows as
// much of curl as is needed.
func shells(t *testing.T, text string) (outputs [][]byte) {
	t.Helper()
	paths := []string{filepath.Dir(testbed.Program(t, testbed.Curl)) + ":" + os.Getenv("PATH")}
	if _, err := exec.LookPath("curl"); err == nil {
		paths = append(paths, os.Getenv("PATH"))
	}
	for _, path := range paths {
		sh := exec.CommandContext(testbed.Bounded(t), "sh", "-c", text)
		sh.Env = append(os.Environ(), "PATH="+path)
		out, err := sh.Output()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		outputs = append(outputs, out)
	}
	return outputs
}
