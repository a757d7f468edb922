package busd_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/subjects"
)

// faulty is the configuration of a module that busd runs.
func faulty(t *testing.T, name string, more ...string) string {
	t.Helper()
	return "  - module: " + name + "\n    run: [" + testbed.Program(t, testbed.Faulty) + "]\n" + strings.Join(more, "")
}

func contains(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s says nothing of %q: %s", what, word, text)
		}
	}
}

func TestBusdWhoseNATSIsNotThereSaysSo(t *testing.T) {
	t.Parallel()
	url := "nats://busd:hunter2@" + testbed.FreeAddress(t)
	d := testbed.Prepare(t, "nats: {url: '"+url+"'}\n")
	status, stdout, stderr := d.Run()
	if status != 1 || stdout != "" {
		t.Errorf("exit status %d, stdout %q; want 1 and nothing", status, stdout)
	}
	contains(t, "stderr", stderr, "nats.url", "is NATS running")
	if strings.Contains(stderr, "hunter2") {
		t.Errorf("the password is repeated: %s", stderr)
	}
}

func TestModuleWaitsForNATSAndForBusd(t *testing.T) {
	t.Parallel()
	address := testbed.FreeAddress(t)
	m := testbed.Worker(t, "nats://"+address, testbed.Faulty, "gate")
	m.Stderr.Line(t, "cannot reach NATS", "waiting")
	natstest.Start(t, &server.Options{Port: int(netip.MustParseAddrPort(address).Port())})
	d := testbed.Serve(t, "nats: {url: 'nats://"+address+"'}\nmodules:\n  - module: other\n    run: ["+testbed.Program(t, testbed.Faulty)+"]\n")
	m.Stderr.Line(t, "the roster does not list this module", "- module: gate")
	testbed.Eventually(t, "busd reports the module", func() bool { return d.Module("gate").State == "unlisted" })
	d.Reconfigure("nats: {url: 'nats://" + address + "'}\nmodules: [{module: gate}]\n")
	testbed.Eventually(t, "the module is asked", func() bool { return d.Create("@refused:example.com").DecidedBy == "gate" })
	d.Stop()
	m.Stop()
}

func TestModuleThatWaitsCanBeStopped(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"without NATS": "nats://" + testbed.FreeAddress(t), "without busd": natstest.TCP(t).URL(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := testbed.Worker(t, url, testbed.Faulty, "gate")
			m.Stderr.Line(t, "waiting")
			m.Stop()
		})
	}
}

func TestBusWithoutModulesHasNoOpinion(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "")
	contains(t, "the announcement", d.Announce, "busd: ready")
	if v := d.Create("@a:example.com"); v.Status != 200 || v.Answer != nil || v.DecidedBy != "" || v.RosterRevision == 0 {
		t.Error(v)
	}
	d.Stop()
	if n := d.Stderr.Count(`"level":"warn"`) + d.Stderr.Count(`"level":"error"`); n > 0 {
		t.Errorf("%d complaints of a run in which nothing was wrong", n)
	}
}

func TestModuleThatFailsIsNamedAndHarmsNoOther(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "bad", "    workers: 2\n    timeout: 500ms\n")+faulty(t, "good"))
	for user, failure := range map[string]string{
		"@error:example.com": "error", "@panic:example.com": "panic", "@late:example.com": "timeout", "@hang:example.com": "timeout", "@die:example.com": "timeout",
	} {
		if v := d.Create(user); v.Status != http.StatusBadGateway || v.Module != "bad" || v.Failure != failure || v.Errcode != "M_UNKNOWN" {
			t.Errorf("%s: %v; want 502 from module bad with %s", user, v, failure)
		}
	}
	// It hangs in one worker, and died in one; whoever is left or comes back answers.
	testbed.Eventually(t, "the module answers again", func() bool { return d.Create("@refused:example.com").DecidedBy == "bad" })
	d.Stderr.Line(t, "callback panicked", "asked to", "user_may_create_room")
	d.Stderr.Line(t, "worker ended", "killed")
	skip := "    on_failure: skip\n    timeout: 500ms\n"
	d.Reconfigure("modules:\n" + faulty(t, "bad", skip, "    workers: 2\n") + faulty(t, "good", skip))
	testbed.Eventually(t, "failures are skipped", func() bool { return d.Create("@error:example.com").Status == 200 })
	if v := d.Create("@late:example.com"); len(v.Failures) != 2 || v.Failures[0].Failure != "timeout" || v.Failures[1].Module != "good" {
		t.Errorf("%v; want both to have failed, and been skipped", v)
	}
}

func TestReplyThatIsGarbageIsAFailure(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules: [{module: gate}]\n", "--log-level", "debug")
	contains(t, "the announcement", d.Announce, "not ready", "module gate is absent")
	nc := d.ConnectModule("gate")
	s, create := subjects.For("example.com"), subjects.UserMayCreateRoom.Declaration
	if _, err := nc.QueueSubscribe(s.Callback(create, "gate"), "gate", func(m *nats.Msg) { _ = m.Respond([]byte("\xff\xffgarbage")) }); err != nil {
		t.Fatal(err)
	}
	join := &nats.Msg{
		Subject: s.Join("gate"), Header: nats.Header{"Content-Type": {"application/json"}},
		Data: []byte(`{"worker": "w", "callbacks": ["spam_checker.user_may_create_room", "spam_checker.no_such_thing"]}`),
	}
	joined, err := nc.RequestMsgWithContext(testbed.Bounded(t), join)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, "the reply", string(joined.Data), `"listed":true`, "no_such_thing")
	testbed.Eventually(t, "garbage is malformed", func() bool { v := d.Create("@a:example.com"); return v.Status == 502 && v.Failure == "malformed" })
	d.Stop()
}

func TestModuleThatLeftIsAbsentUntilItComesBack(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate"))
	d.Reconfigure("modules: [{module: gate}]\n") // It is somebody else's to run now.
	testbed.Eventually(t, "the module has gone", func() bool { return d.Module("gate").State == "absent" })
	if v := d.Create("@refused:example.com"); v.Status != 502 || v.Failure != "absent" || v.Module != "gate" {
		t.Errorf("%v; want that module gate is absent", v)
	}
	if rsp, out := d.Request("GET", "/_synapse/client/gate", nil); rsp.StatusCode != 503 || rsp.Header.Get("Retry-After") == "" {
		t.Errorf("its page: %s %s; want 503 with Retry-After", rsp.Status, out)
	}
	if rsp, _ := d.Request("GET", "/readyz", nil); rsp.StatusCode != 503 {
		t.Errorf("busd is ready without it: %s", rsp.Status)
	}
	m := d.Worker(testbed.Faulty, "gate")
	testbed.Eventually(t, "the module is back", func() bool { return d.Create("@refused:example.com").DecidedBy == "gate" })
	if rsp, out := d.Request("POST", "/_synapse/client/gate", []byte("hello")); rsp.StatusCode != 200 || !bytes.Contains(out, []byte(`{"bytes":5}`)) {
		t.Errorf("its page: %s %s", rsp.Status, out)
	}
	m.Stop()
	testbed.Eventually(t, "the module has gone again", func() bool { return d.Module("gate").State == "absent" })
	d.Stop()
}

func TestModulesWithOneNameAreReportedAndBothAsked(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate"))
	other := d.Worker(testbed.Faulty, "gate", "FAULTY_REGISTERS=user_may_invite")
	testbed.Eventually(t, "busd reports them", func() bool { return strings.Contains(d.Module("gate").LastError, "two modules named gate") })
	other.Stderr.Line(t, "two modules named gate")
	for range 20 { // Whoever of the two it would be given to.
		if v := d.Create("@refused:example.com"); !v.Refused() {
			t.Fatalf("creating: %v", v)
		}
		if _, out := d.Request("POST", "/_modulebus/v1/ask/spam_checker/user_may_invite", []byte(`{}`)); !bytes.Contains(out, []byte(`"decided_by":"gate"`)) {
			t.Fatalf("inviting: %s", out)
		}
	}
	other.Stop()
	d.Stop()
}

func TestConfigurationMistakesAreAllTold(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "busd.yaml")
	testbed.Write(t, file, `server_name: example.com
budgte: 5s
modules:
  - module: gate
    timeout: 5 minutes
    callbacks:
      user_may_create_rooms: {timeout: 1s}
`)
	for _, name := range []string{"serve", "check"} {
		status, stdout, stderr := testbed.Run(t, name, "--config", file)
		if status != 2 || stdout != "" || strings.Count(stderr, "\n") != 3 {
			t.Errorf("%s: exit status %d, stdout %q, stderr:\n%s\nwant 2, nothing, and three lines", name, status, stdout, stderr)
		}
		contains(t, name, stderr, file+":2:1: budgte: ", file+":5:14: modules[0].timeout: ", "try 5m", file+":7:7: modules[0].callbacks.user_may_create_rooms: ")
	}
	status, _, stderr := testbed.Run(t, "serve", "--config", file+".not")
	if status != 2 {
		t.Errorf("without a file: exit status %d, want 2", status)
	}
	contains(t, "stderr", stderr, file+".not", "--config")
}

func TestPortThatIsTakenIsReported(t *testing.T) {
	t.Parallel()
	taken := strings.TrimPrefix(natstest.TCP(t).URL(), "nats://")
	for door, config := range map[string]string{"nats.listen": "nats: {listen: '" + taken + "'}\n", "http.listen": "http: {listen: '" + taken + "'}\n"} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := testbed.Prepare(t, config).Run()
			if status != 1 || stdout != "" {
				t.Errorf("exit status %d, stdout %q; want 1 and nothing", status, stdout)
			}
			contains(t, "stderr", stderr, door, taken, "another", "port")
		})
	}
}

func TestConfigurationThatIsRefusedIsReportedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	bad, good := "    config: {secret: a password}\n", "    config: {secret: password}\n"
	d := testbed.Serve(t, "modules:\n"+faulty(t, "bad", bad)+faulty(t, "good"))
	contains(t, "the announcement", d.Announce, "not ready", "module bad is failed", "secret", "has a space in it")
	m := d.Module("bad")
	if m.State != "failed" || m.Workers != 0 {
		t.Errorf("%+v; want it to have failed", m)
	}
	contains(t, "its last error", m.LastError, "config refused", "secret", "has a space in it")
	_, table, _ := testbed.Run(t, "modules", "--url", d.URL)
	contains(t, "busd modules", table, "bad", "failed", "config refused: secret: has a space in it", "good", "ready")
	if v := d.Create("@refused:example.com"); v.DecidedBy != "good" {
		t.Errorf("the other module: %v", v)
	}
	d.Stderr.Line(t, "worker ended", "awaits configuration", `"bad"`)
	d.Reconfigure("modules:\n" + faulty(t, "bad", bad, "    on_failure: skip\n") + faulty(t, "good")) // Not what it refused.
	d.Stderr.Line(t, "took over the new configuration")
	d.Reconfigure("modules:\n" + faulty(t, "bad", good) + faulty(t, "good"))
	testbed.Eventually(t, "the module is ready", func() bool { return d.Module("bad").State == "ready" })
	if n := d.Stderr.Count("worker started", `"module":"bad"`); n != 2 {
		t.Errorf("the module was started %d times, want twice: at first, and for its new configuration", n)
	}
	d.Stop()
}

func TestModuleThatRefusesANewConfigurationGoesOnWithTheOldOne(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate"))
	d.Reconfigure("modules:\n" + faulty(t, "gate", "    config: {secret: a password}\n"))
	testbed.Eventually(t, "the refusal is reported", func() bool { return strings.Contains(d.Module("gate").LastError, "config refused: secret") })
	if m := d.Module("gate"); m.State != "ready" || m.Workers != 1 {
		t.Errorf("%+v; want it to be ready", m)
	}
	if v := d.Create("@refused:example.com"); v.DecidedBy != "gate" {
		t.Error(v)
	}
	d.Reconfigure("modules:\n" + faulty(t, "gate", "    config: {secret: password}\n"))
	testbed.Eventually(t, "it is told as over", func() bool { return d.Module("gate").LastErrorOver })
	if n := d.Stderr.Count("worker started"); n != 1 {
		t.Errorf("the module was started %d times, want once", n)
	}
	d.Stop()
}

func TestCommandThatCannotBeStartedIsReported(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n  - module: gate\n    run: [./no-such-program]\n")
	contains(t, "the announcement", d.Announce, "module gate is failed", "no-such-program")
	d.Stop()
}

func TestBusdEndsAtOnceAtASecondSignal(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate", "    timeout: 10m\n")+"budget: 10m\n")
	asked := make(chan error, 1)
	go func() { _, err := d.TryCreate("@late:example.com"); asked <- err }()
	d.Stderr.Line(t, "is late")
	d.Signal(syscall.SIGTERM)
	d.Stderr.Line(t, "draining")
	d.Signal(syscall.SIGINT)
	if status := d.Wait(); status == 0 {
		t.Error("exit status 0 of a busd that did not drain")
	}
	<-asked
}

// TestBusdCountsTwoSIGTERMInOneSecondAsOne is what timeout(1) and some units of systemd do.
func TestBusdCountsTwoSIGTERMInOneSecondAsOne(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate", "    timeout: 1s\n    on_failure: skip\n"))
	d.Signal(syscall.SIGTERM)
	d.Signal(syscall.SIGTERM)
	if status := d.Wait(); status != 0 {
		t.Errorf("exit status %d of a busd that was asked twice at once", status)
	}
}

func TestReloadEndsNothingWhileBusdDrains(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate", "    timeout: 1s\n    on_failure: skip\n"))
	asked := make(chan error, 1)
	go func() { _, err := d.TryCreate("@late:example.com"); asked <- err }()
	d.Stderr.Line(t, "is late")
	d.Signal(syscall.SIGTERM)
	d.Stderr.Line(t, "draining")
	d.Signal(syscall.SIGHUP)
	if status := d.Wait(); status != 0 {
		t.Errorf("exit status %d of a busd that was asked to reload while it drained", status)
	}
	<-asked
}

func TestRequestTooLargeForNATSIsReadInPieces(t *testing.T) {
	t.Parallel()
	small := natstest.Start(t, &server.Options{MaxPayload: 64 << 10})
	d := testbed.Serve(t, "nats: {url: '"+small.ClientURL()+"'}\nmodules:\n"+faulty(t, "gate"))
	v := d.Create("@" + strings.Repeat("x", 100<<10) + ":example.com")
	if v.Status != 200 || v.Failure != "" || len(v.Failures) > 0 {
		t.Errorf("%d %s %s; want 200", v.Status, v.Module, v.Failure)
	}
	rsp, out := d.Request("POST", "/_synapse/client/gate", bytes.Repeat([]byte("x"), 1<<20))
	if rsp.StatusCode != 200 || !bytes.Contains(out, []byte(`{"bytes":1048576}`)) {
		t.Errorf("a page is sent in pieces: %s %s", rsp.Status, out)
	}
	d.Stop()
}

func TestModulesEndWhenBusdIsKilled(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("only on Linux does the kernel tell children that their parent died")
	}
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate"))
	pid := int(d.Create("@refused:example.com").Answer.Refusal.AdditionalFields["pid"].(float64))
	d.Signal(syscall.SIGKILL)
	d.Wait()
	testbed.Eventually(t, "the worker has ended", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || bytes.Contains(stat, []byte(") Z ")) // Where nobody reaps orphans, it stays a zombie.
	})
}
