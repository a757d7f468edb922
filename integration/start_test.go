package integration_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// ADR 13.
func TestNothingIsAllowedBecauseModulesAreStillStarting(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	d := prepare(t, "http: {listen: '"+address+"'}\nmodules:\n  - module: demo\n"+
		"    run: [sh, -c, 'read go < "+gate+"; exec "+program(t, "demo-module")+"']\n"+
		"    config: {deny: ['@evilguy:example.com']}\n")
	d.url = "http://" + address
	d.start()
	eventually(t, "busd listens", func() bool {
		rsp, _, err := d.try("GET", "/healthz", nil)
		return err == nil && rsp.StatusCode == http.StatusOK
	})
	for _, path := range []string{"/_modulebus/v1/wants", "/_synapse/client/demo/hello", "/readyz"} {
		if rsp, out := d.request("GET", path, nil); rsp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s is answered %d: %s", path, rsp.StatusCode, out)
		}
	}
	rsp, out := d.request("POST", "/_modulebus/v1/ask/spam_checker/user_may_create_room", []byte(`{"user_id":"@evilguy:example.com"}`))
	if rsp.StatusCode != http.StatusServiceUnavailable || rsp.Header.Get("Retry-After") == "" || !strings.Contains(string(out), "starting") {
		t.Errorf("an ask is answered %d, Retry-After %q: %s", rsp.StatusCode, rsp.Header.Get("Retry-After"), out)
	}
	if m := d.module("demo"); m.State != "starting" {
		t.Errorf("%+v; want it to be starting", m)
	}
	write(t, gate, "go\n")
	d.announced()
	if v := d.create("@evilguy:example.com"); !v.refused() {
		t.Error(v)
	}
	d.stop()
}

// A module that cannot start is known, and so it keeps nobody waiting.
func TestAModuleThatCannotStartDoesNotCloseTheDoor(t *testing.T) {
	t.Parallel()
	d := serve(t, "modules:\n  - module: broken\n    run: ['"+filepath.Join(t.TempDir(), "nothing")+"']\n"+faulty(t, "a"))
	if v := d.create("@refused:example.com"); v.DecidedBy != "a" {
		t.Error(v)
	}
	d.stop()
}
