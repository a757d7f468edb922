//go:build integration

package busd_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// packaged is a copy of the JavaScript example, with what its package.json names.
func packaged(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(testbed.Root, "examples/javascript/gate.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	testbed.Write(t, filepath.Join(dir, "gate.mjs"), string(text))
	if err := os.Symlink(filepath.Join(testbed.Setting(t, "MODULEBUS_GATE_PACKAGES"), "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "gate.mjs")
}

func TestVerifyReportsInJSONAndJUnit(t *testing.T) {
	t.Parallel()
	junit := filepath.Join(t.TempDir(), "junit.xml")
	status, stdout, stderr := testbed.Run(t, "verify", "--json", "--junit", junit, "--module-config", `{"deny": ["@a:b"]}`, "--", testbed.Program(t, testbed.Demo))
	var report struct {
		Correct bool
		Results []struct{ Rule, Verdict, Why string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	for _, r := range report.Results {
		if r.Verdict == "broken" {
			t.Errorf("%s: %s", r.Rule, r.Why)
		}
	}
	if status != 0 || !report.Correct || len(report.Results) < 30 {
		t.Errorf("status %d: %s", status, stdout)
	}
	if text, err := os.ReadFile(junit); err != nil || !strings.Contains(string(text), `<testcase classname="protocol" name="joins">`) {
		t.Errorf("%v: %s", err, text)
	}
}

func TestVerifySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"a program that is no module": {[]string{"verify", "--", "false"}, 4, "its process ended (exit status 1)"},
		"no such program":             {[]string{"verify", "--", "/no/such/program"}, 4, "it does not start"},
		"no program":                  {[]string{"verify"}, 2, "names no program"},
		"a config that is none":       {[]string{"verify", "--module-config", "[]", "--", "true"}, 2, "is not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := testbed.Run(t, tt.args...)
			if status != tt.status || !strings.Contains(stdout+stderr, tt.says) {
				t.Errorf("status %d, want %d: %s%s", status, tt.status, stdout, stderr)
			}
		})
	}
}
