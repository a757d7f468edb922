//go:build integration

package python_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestCredentialsThatAreBadAreExplainedInPython has a module with credentials that NATS cannot take.
func TestCredentialsThatAreBadAreExplainedInPython(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules: [{module: faulty}, {module: other}]\n")
	elsewhere := testbed.Prepare(t, "modules: [{module: faulty}]\n")
	module := func(t *testing.T, file string) *testbed.Process {
		t.Helper()
		return testbed.Execute(t, testbed.Python(t), absolute(t, "integration/python/testdata/faulty.py")).With(
			"PYTHONPATH="+absolute(t, "bridges/python"), "MODULEBUS_NATS_URL="+d.NATS, "MODULEBUS_SERVER_NAME=example.com",
			"MODULEBUS_MODULE=faulty", "MODULEBUS_CREDENTIALS="+file)
	}
	for name, c := range map[string]struct{ file, want string }{
		"none":           {"", "NATS wants credentials: name a file"},
		"not there":      {"/nowhere", "--credentials: cannot read /nowhere: no such file"},
		"a folder":       {t.TempDir(), "--credentials: cannot read"},
		"of another bus": {elsewhere.Credentials("faulty"), "is this the busd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, _, stderr := module(t, c.file).Run()
			if status != 1 || strings.Count(stderr, c.want) != 1 || strings.Contains(stderr, "Traceback") {
				t.Errorf("status %d, %s", status, stderr)
			}
		})
	}
	good, err := os.ReadFile(d.Credentials("faulty"))
	if err != nil {
		t.Fatal(err)
	}
	others := module(t, d.Credentials("other")).Start()
	others.Stderr.Line(t, "are those of module other", "busd credentials faulty")
	others.Kill()
	readable := filepath.Join(t.TempDir(), "readable.creds")
	testbed.Write(t, readable, string(good))
	if err := os.Chmod(readable, 0o644); err != nil {
		t.Fatal(err)
	}
	m := module(t, readable).Start()
	m.Stderr.Line(t, "others can read the credentials", "chmod 600")
	testbed.Eventually(t, "it is asked all the same", func() bool { return d.Module("faulty").Workers == 1 })
	d.Edit("{module: faulty}, ", "")
	if status := m.Wait(); status != 1 || m.Stderr.Count("is module faulty listed in busd.yaml") != 1 {
		t.Errorf("the module that is listed no more ended with status %d", status)
	}
}
