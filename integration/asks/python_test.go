//go:build integration

package asks_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

const (
	evil  = "@evilguy:example.com"
	alice = "@alice:example.com"
)

// pythonGate is the path of the module that docs/protocol.md points to.
func pythonGate(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(testbed.Root, "examples/python/gate.py"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// gateConfig has busd run the module as examples/python.yaml does, and refuse the user.
func gateConfig(t *testing.T, denied string) string {
	t.Helper()
	return fmt.Sprintf(`
modules:
  - module: gate
    run: [%s, %s]
    config: {deny: [%q]}
`, testbed.Python(t), pythonGate(t), denied)
}

// TestPythonGate runs the module as examples/python.yaml does.
func TestPythonGate(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, gateConfig(t, evil))
	if d.Create(evil).Answer.Refusal.Errcode != "M_FORBIDDEN" {
		t.Errorf("%s may create rooms", evil)
	}
	if got := d.Create(alice); got.Answer != nil || got.Status != http.StatusOK {
		t.Errorf("of %s, the module said %v; want no opinion", alice, got)
	}

	// While the worker is gone the ask fails, as user_may_create_room does by default; it never finds no opinion.
	if err := syscall.Kill(workerOf(t, d, "worker started", 1), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	worker := workerOf(t, d, "worker started", 2)
	for got := d.Create(evil); got.Status != http.StatusOK; got = d.Create(evil) {
		if got.Failure != "absent" && got.Failure != "timeout" {
			t.Errorf("without a worker: %v", got)
		}
		testbed.Pause(t)
	}
	if got := d.Create(evil); got.Answer == nil || got.DecidedBy != "gate" {
		t.Errorf("the restarted worker said %v; want a refusal", got)
	}

	// It drains when it is told to, and says that it leaves: nothing is left for busd to kill or to complain of.
	d.Stop()
	if ended := workerOf(t, d, "worker ended", 2); ended != worker {
		t.Errorf("worker %d ended; want %d", ended, worker)
	}
	if n := d.Stderr.Count("worker ended", `"error"`); n > 1 {
		t.Errorf("%d workers ended with an error; want the one that was killed", n)
	}
}

// workerOf is the process that the n-th such line of busd's log is about.
func workerOf(t *testing.T, d *testbed.Daemon, message string, n int) int {
	t.Helper()
	testbed.Eventually(t, fmt.Sprintf("busd says %q %d times", message, n), func() bool { return d.Stderr.Count(message) >= n })
	var entry struct{ PID int }
	if err := json.Unmarshal([]byte(d.Stderr.Lines(message)[n-1]), &entry); err != nil {
		t.Fatal(err)
	}
	return entry.PID
}

// TestPythonGateOutlivesBusd has a module that busd does not run, and a busd that is started again under it.
func TestPythonGateOutlivesBusd(t *testing.T) {
	t.Parallel()
	const config = "nats: {listen: %q}\nmodules:\n  - module: gate\n    config: {deny: [%q]}\n"
	address := testbed.FreeAddress(t)
	d := testbed.Serve(t, fmt.Sprintf(config, address, evil))
	gate := testbed.Execute(t, testbed.Python(t), pythonGate(t)).
		With("MODULEBUS_NATS_URL=nats://"+address, "MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=gate").Start()
	untilRefused(t, d)
	d.Stop()
	d = testbed.Serve(t, fmt.Sprintf(config, address, evil))
	untilRefused(t, d)
	gate.Stop()
	if got := d.Create(evil); got.Failure != "absent" {
		t.Errorf("after the module left: %v; want it to be absent", got)
	}
}

// TestPythonGateFollowsItsConfiguration has a busd whose file is changed while the module runs.
func TestPythonGateFollowsItsConfiguration(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, gateConfig(t, "@somebody.else:example.com"))
	if got := d.Create(evil); got.Answer != nil || got.Status != http.StatusOK {
		t.Errorf("before the change: %v; want no opinion", got)
	}
	d.Reconfigure(gateConfig(t, evil))
	d.Signal(syscall.SIGHUP)
	untilRefused(t, d)
}

func untilRefused(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	testbed.Eventually(t, "the module refuses", func() bool { return d.Create(evil).Refused() })
}
