//go:build integration

package synapse_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestModuleMovesOutOfSynapsesProcessAndBack does with a published module what docs/python-modules.md says: busd import
// writes its entry, it goes from homeserver.yaml to busd.yaml, is killed there, and goes back. Clients see no difference.
//
//nolint:paralleltest // servers enough for a small machine
func TestModuleMovesOutOfSynapsesProcessAndBack(t *testing.T) {
	m := thirds[0].module(t)
	s := prepareSynapse(t)
	inside := "\n  - module: " + m.class + "\n    config: " + m.config
	s.configure(t, inside, "")
	s.start(t)
	alice := s.register(t, "alice", false)
	id := alice.createRoom(t, nil)
	want := []string{"200", `403 M_FORBIDDEN "watches"`}
	say := func(when string) {
		t.Helper()
		for i, text := range []string{"good morning", evilWord} {
			if got := alice.do(t, "PUT", room(id, "send", "m.room.message", when+text), message(text)).String(); got != want[i] {
				t.Errorf("%s, %q: %s, want %s", when, text, got, want[i])
			}
		}
	}
	say("inside")
	status, entries, stderr := testbed.Run(t, "import", filepath.Join(s.dir, "homeserver.yaml"), "--python", testbed.Python(t))
	if status != 0 || !strings.Contains(entries, m.class+" 0.5.1: can run.") {
		t.Fatalf("busd import: %d\n%s%s", status, entries, stderr)
	}
	home := filepath.Join(s.dir, "homeserver.yaml")
	before := readFile(t, home)
	s.stop()

	d := moved(t, s, m, "") // It writes a homeserver.yaml without the module, and with the bridge.
	own, _, _ := strings.Cut(before, "modules:")
	_, modules, _ := strings.Cut(readFile(t, home), "modules:")
	testbed.Write(t, home, own+"modules:"+modules)
	s.start(t)
	ready(t, d, s)
	say("outside")

	first := process(t, d)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "another process has taken its place", func() bool {
		next := process(t, d)
		return next != 0 && next != first && d.Module("moved").State == "ready"
	})
	say("after it was killed")

	s.stop()
	testbed.Write(t, home, before)
	s.start(t)
	say("inside again")
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// process is the one that busd runs; 0 when none runs.
func process(t *testing.T, d *testbed.Daemon) int {
	t.Helper()
	_, out := d.Request("GET", "/_modulebus/v1/modules", nil)
	var status struct {
		Modules []struct{ Processes []struct{ PID int } }
	}
	if err := json.Unmarshal(out, &status); err != nil || len(status.Modules) == 0 || len(status.Modules[0].Processes) == 0 {
		return 0
	}
	return status.Modules[0].Processes[0].PID
}
