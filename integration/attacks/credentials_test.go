package attacks_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestCredentialsThatAreBadAreExplained has a module with credentials that NATS cannot take.
func TestCredentialsThatAreBadAreExplained(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules: [{module: gate}]\n")
	elsewhere := testbed.Prepare(t, "modules: [{module: gate}]\n")
	good, err := os.ReadFile(d.Credentials("gate"))
	if err != nil {
		t.Fatal(err)
	}
	truncated := filepath.Join(t.TempDir(), "truncated.creds")
	testbed.Write(t, truncated, string(good[:len(good)/2]))
	for name, c := range map[string]struct{ file, want string }{
		"none":           {"", "NATS wants credentials"},
		"not there":      {"/nowhere", "no such file"},
		"truncated":      {truncated, "not the whole of it"},
		"of another bus": {elsewhere.Credentials("gate"), "is this the busd"},
		"a folder":       {t.TempDir(), "--credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{"MODULEBUS_NATS_URL=" + d.NATS, "MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=gate", "MODULEBUS_CREDENTIALS=" + c.file}
			status, _, stderr := testbed.Command(t, testbed.Faulty).With(env...).Run()
			if status != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("status %d, %s", status, stderr)
			}
		})
	}
	readable := filepath.Join(t.TempDir(), "readable.creds")
	testbed.Write(t, readable, string(good))
	if err := os.Chmod(readable, 0o644); err != nil {
		t.Fatal(err)
	}
	m := testbed.Command(t, testbed.Faulty).With(d.Environment("gate")...).With("MODULEBUS_CREDENTIALS=" + readable).Start()
	m.Stderr.Line(t, "others can read the credentials", "chmod 600")
	testbed.Eventually(t, "it is asked all the same", func() bool { return d.Create("@refused:example.com").DecidedBy == "gate" })
	m.Stop()
}
