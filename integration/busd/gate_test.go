//go:build integration

package busd_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
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

// pythonGateThat is the module, with a line more before it decides.
func pythonGateThat(t *testing.T, does string) string {
	t.Helper()
	text, err := os.ReadFile(pythonGate(t))
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(text), "    refusal = ")
	if !found {
		t.Fatal("gate.py decides elsewhere")
	}
	path := filepath.Join(t.TempDir(), "gate.py")
	testbed.Write(t, path, before+"    "+does+"\n    refusal = "+after)
	return path
}

func TestExampleModuleInPythonPostsRefusalsIntoARoom(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(testbed.Root)
	if err != nil {
		t.Fatal(err)
	}
	kit, example := filepath.Join(root, "bridges/python"), filepath.Join(root, "examples/python/refusals.py")
	postsRefusals(t, "env, PYTHONPATH="+kit+", "+testbed.Python(t)+", "+example)
}

// gateConfig has busd run the module as examples/python.yaml does, and refuse the user.
func gateConfig(t *testing.T, gate, denied string, more ...string) string {
	t.Helper()
	return fmt.Sprintf("modules:\n  - module: gate\n    run: [%s, %s]\n    config: {deny: [%q]%s}\n",
		testbed.Python(t), gate, denied, strings.Join(more, ""))
}

// TestPythonGate runs the module as examples/python.yaml does.
func TestPythonGate(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, gateConfig(t, pythonGate(t), evil))
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
	address, state := testbed.FreeAddress(t), filepath.Join(t.TempDir(), "state")
	config := fmt.Sprintf("state_dir: %q\nnats: {listen: %q}\nmodules:\n  - module: gate\n    config: {deny: [%q]}\n", state, address, evil)
	d := testbed.Serve(t, config)
	gate := testbed.Execute(t, testbed.Python(t), pythonGate(t)).
		With(d.Environment("gate")...).Start()
	untilRefused(t, d)
	d.Stop()
	d = testbed.Serve(t, config)
	untilRefused(t, d)
	gate.Stop()
	if got := d.Create(evil); got.Failure != "absent" {
		t.Errorf("after the module left: %v; want it to be absent", got)
	}
}

// TestPythonGateFollowsItsConfiguration has a busd whose file is changed while the module runs.
func TestPythonGateFollowsItsConfiguration(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, gateConfig(t, pythonGate(t), "@somebody.else:example.com"))
	if got := d.Create(evil); got.Answer != nil || got.Status != http.StatusOK {
		t.Errorf("before the change: %v; want no opinion", got)
	}
	d.Reconfigure(gateConfig(t, pythonGate(t), evil))
	d.Signal(syscall.SIGHUP)
	untilRefused(t, d)
}

// TestPythonGateAnswersSeveralAtOnce has a module that decides nothing before it was asked eight times.
func TestPythonGateAnswersSeveralAtOnce(t *testing.T) {
	t.Parallel()
	const together = 8
	gate := pythonGateThat(t, fmt.Sprintf("global N; N = globals().get('N', 0) + 1\n    while N < %d: await asyncio.sleep(0.01)", together))
	d := testbed.Serve(t, gateConfig(t, gate, evil)+"    workers: 1\n    timeout: 30s\nbudget: 40s\n")
	testbed.Eventually(t, "the module is ready", func() bool { return d.Module("gate").State == "ready" })
	var asked sync.WaitGroup
	for range together {
		c := testbed.Call(t, d.URL)
		asked.Go(func() {
			if v, err := c.TryCreate(evil); err != nil || !v.Refused() {
				t.Errorf("%v (%v); want a refusal", v, err)
			}
		})
	}
	asked.Wait()
}

// TestPythonGateLosesNothingWhenItIsStopped stops one worker of two after the other while clients ask.
func TestPythonGateLosesNothingWhenItIsStopped(t *testing.T) {
	t.Parallel()
	gate := pythonGateThat(t, "await asyncio.sleep(0.02)")
	d := testbed.Serve(t, "modules:\n  - module: gate\n    config: {deny: ['@refused:example.com']}\n    timeout: 30s\nbudget: 40s\n")
	worker := func() *testbed.Process {
		before := d.Module("gate").Workers
		p := testbed.Execute(t, testbed.Python(t), gate).
			With(d.Environment("gate")...).Start()
		testbed.Eventually(t, "the worker has joined", func() bool { return d.Module("gate").Workers == before+1 })
		return p
	}
	last := worker()
	a := startAskers(d, 16)
	for range 3 {
		next := worker()
		a.more(t, 100)
		last.Stop()
		a.more(t, 100)
		last = next
	}
	a.noneLost(t)
}

// TestPythonGateFailsWhenItsAnswerIsTooLarge has a text that fits its entry, and is three times as long when escaped.
func TestPythonGateFailsWhenItsAnswerIsTooLarge(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, gateConfig(t, pythonGate(t), evil, ", text: '", strings.Repeat("é", 300<<10), "'"))
	testbed.Eventually(t, "the module is ready", func() bool { return d.Module("gate").State == "ready" })
	for range 2 { // The connection outlives it.
		if got := d.Create(evil); got.Status != http.StatusBadGateway || got.Module != "gate" || got.Failure != "error" {
			t.Errorf("%v; want the failure of the module", got)
		}
	}
}

// TestPythonGateEndsWhenNATSIsGoneForGood has a NATS that says that credentials have expired: nats-py never connects again.
func TestPythonGateEndsWhenNATSIsGoneForGood(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go expire(l)
	gate := testbed.Execute(t, testbed.Python(t), pythonGate(t)).With(
		"MODULEBUS_NATS_URL=nats://"+l.Addr().String(), "MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=gate").Start()
	if status := gate.Wait(); status != 1 {
		t.Errorf("exit status %d; want 1, for which supervisors start a program again", status)
	}
	gate.Stderr.Line(t, "closed the connection for good")
}

// expire is a NATS that lets a client in, and throws it out when it subscribes.
func expire(l net.Listener) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprint(c, `INFO {"server_id":"x","version":"2.12.0","proto":1,"headers":true,"max_payload":1048576}`+"\r\n")
	for lines := bufio.NewScanner(c); lines.Scan(); {
		switch {
		case strings.HasPrefix(lines.Text(), "PING"):
			fmt.Fprint(c, "PONG\r\n")
		case strings.HasPrefix(lines.Text(), "SUB"):
			fmt.Fprint(c, "-ERR 'User Authentication Expired'\r\n")
		}
	}
}

// doorman lets no module into NATS for a while.
type doorman struct {
	shut   atomic.Bool
	turned atomic.Int64 // away
}

// Check implements [server.Authentication].
func (d *doorman) Check(c server.ClientAuthentication) bool {
	if !d.shut.Load() || !strings.HasPrefix(c.GetOpts().Name, "gate/") {
		return true
	}
	d.turned.Add(1)
	return false
}

// TestJavaScriptGateOutlivesANATSThatDoesNotKnowItsUsers has a NATS that refuses a module's login again and again.
func TestJavaScriptGateOutlivesANATSThatDoesNotKnowItsUsers(t *testing.T) {
	t.Parallel()
	guard, address := &doorman{}, testbed.FreeAddress(t)
	options := func() *server.Options {
		return &server.Options{Port: int(netip.MustParseAddrPort(address).Port()), CustomClientAuthentication: guard}
	}
	first := natstest.Start(t, options())
	d := testbed.Serve(t, fmt.Sprintf("nats: {url: 'nats://%s'}\nmodules:\n  - module: gate\n    config: {deny: [%q]}\n", address, evil))
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	module := testbed.Execute(t, node, packaged(t)).With(d.Environment("gate")...).Start()
	untilRefused(t, d)
	guard.shut.Store(true)
	first.Shutdown()
	first.WaitForShutdown()
	natstest.Start(t, options())
	testbed.Eventually(t, "the module was turned away three times", func() bool { return guard.turned.Load() >= 3 })
	guard.shut.Store(false)
	untilRefused(t, d)
	module.Stop()
}

func untilRefused(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	testbed.Eventually(t, "the module refuses", func() bool { return d.Create(evil).Refused() })
}
