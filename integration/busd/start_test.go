package busd_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// ADR 13.
func TestBusdAllowsNothingWhileModulesAreStarting(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	address := testbed.FreeAddress(t)
	d := testbed.Prepare(t, "http: {listen: '"+address+"'}\nmodules:\n  - module: demo\n"+
		"    run: [sh, -c, 'read go < "+gate+"; exec "+testbed.Program(t, testbed.Demo)+"']\n"+
		"    config: {deny: ['@evilguy:example.com']}\n")
	d.URL = "http://" + address
	d.Start()
	testbed.Eventually(t, "busd listens", func() bool {
		rsp, _, err := d.Try("GET", "/healthz", nil)
		return err == nil && rsp.StatusCode == http.StatusOK
	})
	for _, path := range []string{"/_modulebus/v1/wants", "/_synapse/client/demo/hello", "/readyz"} {
		if rsp, out := d.Request("GET", path, nil); rsp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s is answered %d: %s", path, rsp.StatusCode, out)
		}
	}
	rsp, out := d.Request("POST", "/_modulebus/v1/ask/spam_checker/user_may_create_room", []byte(`{"user_id":"@evilguy:example.com"}`))
	if rsp.StatusCode != http.StatusServiceUnavailable || rsp.Header.Get("Retry-After") == "" || !strings.Contains(string(out), "starting") {
		t.Errorf("an ask is answered %d, Retry-After %q: %s", rsp.StatusCode, rsp.Header.Get("Retry-After"), out)
	}
	if m := d.Module("demo"); m.State != "starting" {
		t.Errorf("%+v; want it to be starting", m)
	}
	testbed.Write(t, gate, "go\n")
	d.Announced()
	if v := d.Create("@evilguy:example.com"); !v.Refused() {
		t.Error(v)
	}
	d.Stop()
}

// A module that cannot start is known, and so it keeps nobody waiting.
func TestModuleThatCannotStartDoesNotCloseTheDoor(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n  - module: broken\n    run: ['"+filepath.Join(t.TempDir(), "nothing")+"']\n"+faulty(t, "a"))
	if v := d.Create("@refused:example.com"); v.DecidedBy != "a" {
		t.Error(v)
	}
	d.Stop()
}
