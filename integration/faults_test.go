package integration_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/subjects"
)

// faulty is the configuration of a module that busd runs.
func faulty(t *testing.T, name string, more ...string) string {
	t.Helper()
	return "  - module: " + name + "\n    run: [" + program(t, "faulty") + "]\n" + strings.Join(more, "")
}

func contains(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s says nothing of %q: %s", what, word, text)
		}
	}
}

func TestABusdWhoseNATSIsNotThereSaysSo(t *testing.T) {
	t.Parallel()
	url := "nats://busd:hunter2@" + freeAddress(t)
	d := prepare(t, "nats: {url: '"+url+"'}\n")
	status, stdout, stderr := d.run()
	if status != 1 || stdout != "" {
		t.Errorf("exit status %d, stdout %q; want 1 and nothing", status, stdout)
	}
	contains(t, "stderr", stderr, "nats.url", "is NATS running")
	if strings.Contains(stderr, "hunter2") {
		t.Errorf("the password is repeated: %s", stderr)
	}
}

func TestAModuleWaitsForNATSAndForBusd(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	m := worker(t, "nats://"+address, "faulty", "gate")
	m.stderr.line(t, "cannot reach NATS", "waiting")
	d := prepare(t, "nats: {listen: '"+address+"'}\nmodules:\n  - module: other\n    run: ["+program(t, "faulty")+"]\n")
	d.start()
	d.announced()
	m.stderr.line(t, "the roster does not list this module", "- module: gate")
	eventually(t, "busd reports the module", func() bool { return d.module("gate").State == "unlisted" })
	d.reconfigure("nats: {listen: '" + address + "'}\nmodules: [{module: gate}]\n")
	eventually(t, "the module is asked", func() bool { return d.create("@refused:example.com").DecidedBy == "gate" })
	d.stop()
	m.stop()
}

func TestAModuleThatWaitsCanBeStopped(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"without NATS": "nats://" + freeAddress(t), "without busd": natstest.TCP(t).URL(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := worker(t, url, "faulty", "gate")
			m.stderr.line(t, "waiting")
			m.stop()
		})
	}
}

func TestABusWithoutModulesHasNoOpinion(t *testing.T) {
	t.Parallel()
	d := serve(t, "")
	contains(t, "the announcement", d.announce, "busd: ready")
	if v := d.create("@a:example.com"); v.status != 200 || v.Answer != nil || v.DecidedBy != "" || v.RosterRevision == 0 {
		t.Error(v)
	}
	d.stop()
	if n := d.stderr.count(`"level":"warn"`) + d.stderr.count(`"level":"error"`); n > 0 {
		t.Errorf("%d complaints of a run in which nothing was wrong", n)
	}
}

func TestAModuleThatFailsIsNamedAndNobodyElsesProblem(t *testing.T) {
	t.Parallel()
	d := serve(t, "modules:\n"+faulty(t, "bad", "    workers: 2\n    timeout: 500ms\n")+faulty(t, "good"))
	for user, failure := range map[string]string{
		"@error:example.com": "error", "@panic:example.com": "panic", "@late:example.com": "timeout", "@hang:example.com": "timeout", "@die:example.com": "timeout",
	} {
		if v := d.create(user); v.status != http.StatusBadGateway || v.Module != "bad" || v.Failure != failure || v.Errcode != "M_UNKNOWN" {
			t.Errorf("%s: %v; want 502 from module bad with %s", user, v, failure)
		}
	}
	// It hangs in one worker, and died in one; whoever is left or comes back answers.
	eventually(t, "the module answers again", func() bool { return d.create("@refused:example.com").DecidedBy == "bad" })
	d.stderr.line(t, "callback panicked", "asked to", "user_may_create_room")
	d.stderr.line(t, "worker ended", "killed")
	skip := "    on_failure: skip\n    timeout: 500ms\n"
	d.reconfigure("modules:\n" + faulty(t, "bad", skip, "    workers: 2\n") + faulty(t, "good", skip))
	eventually(t, "failures are skipped", func() bool { return d.create("@error:example.com").status == 200 })
	if v := d.create("@late:example.com"); len(v.Failures) != 2 || v.Failures[0].Failure != "timeout" || v.Failures[1].Module != "good" {
		t.Errorf("%v; want both to have failed, and been skipped", v)
	}
}

func TestGarbageIsAFailure(t *testing.T) {
	t.Parallel()
	d := serve(t, "modules: [{module: gate}]\n", "--log-level", "debug")
	contains(t, "the announcement", d.announce, "not ready", "module gate is absent")
	nc, err := nats.Connect(d.nats)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s, create := subjects.Of("example.com"), subjects.UserMayCreateRoom.Declaration
	if _, err := nc.QueueSubscribe(s.Callback(create, "gate"), "gate", func(m *nats.Msg) { _ = m.Respond([]byte("\xff\xffgarbage")) }); err != nil {
		t.Fatal(err)
	}
	join := &nats.Msg{
		Subject: s.Join("gate"), Header: nats.Header{"Content-Type": {"application/json"}},
		Data: []byte(`{"worker": "w", "callbacks": ["spam_checker.user_may_create_room", "spam_checker.no_such_thing"]}`),
	}
	joined, err := nc.RequestMsgWithContext(bounded(t), join)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, "the reply", string(joined.Data), `"listed":true`, "no_such_thing")
	eventually(t, "garbage is malformed", func() bool { v := d.create("@a:example.com"); return v.status == 502 && v.Failure == "malformed" })
	d.stop()
}

func TestAModuleThatLeftIsAbsentUntilItComesBack(t *testing.T) {
	t.Parallel()
	d := serve(t, "modules:\n"+faulty(t, "gate"))
	d.reconfigure("modules: [{module: gate}]\n") // It is somebody else's to run now.
	eventually(t, "the module has gone", func() bool { return d.module("gate").State == "absent" })
	if v := d.create("@refused:example.com"); v.status != 502 || v.Failure != "absent" || v.Module != "gate" {
		t.Errorf("%v; want that module gate is absent", v)
	}
	if rsp, out := d.request("GET", "/_synapse/client/gate", nil); rsp.StatusCode != 503 || rsp.Header.Get("Retry-After") == "" {
		t.Errorf("its page: %s %s; want 503 with Retry-After", rsp.Status, out)
	}
	if rsp, _ := d.request("GET", "/readyz", nil); rsp.StatusCode != 503 {
		t.Errorf("busd is ready without it: %s", rsp.Status)
	}
	m := d.worker("faulty", "gate")
	eventually(t, "the module is back", func() bool { return d.create("@refused:example.com").DecidedBy == "gate" })
	if rsp, out := d.request("POST", "/_synapse/client/gate", []byte("hello")); rsp.StatusCode != 200 || !bytes.Contains(out, []byte(`{"bytes":5}`)) {
		t.Errorf("its page: %s %s", rsp.Status, out)
	}
	m.stop()
	eventually(t, "the module has gone again", func() bool { return d.module("gate").State == "absent" })
	d.stop()
}

func TestTwoModulesWithOneNameAreReportedAndBothAsked(t *testing.T) {
	t.Parallel()
	d := serve(t, "modules:\n"+faulty(t, "gate"))
	other := d.worker("faulty", "gate", "FAULTY_REGISTERS=user_may_invite")
	eventually(t, "busd reports them", func() bool { return strings.Contains(d.module("gate").LastError, "two modules named gate") })
	other.stderr.line(t, "two modules named gate")
	for range 20 { // Whoever of the two it would be given to.
		if v := d.create("@refused:example.com"); !v.refused() {
			t.Fatalf("creating: %v", v)
		}
		if _, out := d.request("POST", "/_modulebus/v1/ask/spam_checker/user_may_invite", []byte(`{}`)); !bytes.Contains(out, []byte(`"decided_by":"gate"`)) {
			t.Fatalf("inviting: %s", out)
		}
	}
	other.stop()
	d.stop()
}

func TestEveryMistakeOfAConfigurationIsTold(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "busd.yaml")
	write(t, file, `server_name: example.com
budgte: 5s
modules:
  - module: gate
    timeout: 5 minutes
    callbacks:
      user_may_create_rooms: {timeout: 1s}
`)
	for _, name := range []string{"serve", "check"} {
		status, stdout, stderr := execute(t, name, "--config", file)
		if status != 2 || stdout != "" || strings.Count(stderr, "\n") != 3 {
			t.Errorf("%s: exit status %d, stdout %q, stderr:\n%s\nwant 2, nothing, and three lines", name, status, stdout, stderr)
		}
		contains(t, name, stderr, file+":2:1: budgte: ", file+":5:14: modules[0].timeout: ", "try 5m", file+":7:7: modules[0].callbacks.user_may_create_rooms: ")
	}
	status, _, stderr := execute(t, "serve", "--config", file+".not")
	if status != 2 {
		t.Errorf("without a file: exit status %d, want 2", status)
	}
	contains(t, "stderr", stderr, file+".not", "--config")
}

func TestABusyPortIsSaid(t *testing.T) {
	t.Parallel()
	taken := strings.TrimPrefix(natstest.TCP(t).URL(), "nats://")
	for door, config := range map[string]string{"nats.listen": "nats: {listen: '" + taken + "'}\n", "http.listen": "http: {listen: '" + taken + "'}\n"} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := prepare(t, config).run()
			if status != 1 || stdout != "" {
				t.Errorf("exit status %d, stdout %q; want 1 and nothing", status, stdout)
			}
			contains(t, "stderr", stderr, door, taken, "another", "port")
		})
	}
}

func TestARefusedConfigurationIsReportedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	bad, good := "    config: {secret: a password}\n", "    config: {secret: password}\n"
	d := serve(t, "modules:\n"+faulty(t, "bad", bad)+faulty(t, "good"))
	contains(t, "the announcement", d.announce, "not ready", "module bad is failed", "secret", "has a space in it")
	m := d.module("bad")
	if m.State != "failed" || m.Workers != 0 {
		t.Errorf("%+v; want it to have failed", m)
	}
	contains(t, "its last error", m.LastError, "config refused", "secret", "has a space in it")
	_, table, _ := execute(t, "modules", "--url", d.url)
	contains(t, "busd modules", table, "bad", "failed", "config refused: secret: has a space in it", "good", "ready")
	if v := d.create("@refused:example.com"); v.DecidedBy != "good" {
		t.Errorf("the other module: %v", v)
	}
	d.stderr.line(t, "worker ended", "awaits configuration", `"bad"`)
	d.reconfigure("modules:\n" + faulty(t, "bad", bad, "    on_failure: skip\n") + faulty(t, "good")) // Not what it refused.
	d.stderr.line(t, "took over the new configuration")
	d.reconfigure("modules:\n" + faulty(t, "bad", good) + faulty(t, "good"))
	eventually(t, "the module is ready", func() bool { return d.module("bad").State == "ready" })
	if n := d.stderr.count("worker started", `"module":"bad"`); n != 2 {
		t.Errorf("the module was started %d times, want twice: at first, and for its new configuration", n)
	}
	d.stop()
}

func TestAModuleThatRefusesANewConfigurationGoesOnWithTheOldOne(t *testing.T) {
	t.Parallel()
	d := serve(t, "modules:\n"+faulty(t, "gate"))
	d.reconfigure("modules:\n" + faulty(t, "gate", "    config: {secret: a password}\n"))
	eventually(t, "the refusal is reported", func() bool { return strings.Contains(d.module("gate").LastError, "config refused: secret") })
	if m := d.module("gate"); m.State != "ready" || m.Workers != 1 {
		t.Errorf("%+v; want it to be ready", m)
	}
	if v := d.create("@refused:example.com"); v.DecidedBy != "gate" {
		t.Error(v)
	}
	d.reconfigure("modules:\n" + faulty(t, "gate", "    config: {secret: password}\n"))
	eventually(t, "nothing is wrong", func() bool { return d.module("gate").LastError == "" })
	if n := d.stderr.count("worker started"); n != 1 {
		t.Errorf("the module was started %d times, want once", n)
	}
	d.stop()
}

func TestACommandThatCannotBeStartedIsReported(t *testing.T) {
	t.Parallel()
	d := serve(t, "modules:\n  - module: gate\n    run: [./no-such-program]\n")
	contains(t, "the announcement", d.announce, "module gate is failed", "no-such-program")
	d.stop()
}

func TestASecondSignalEndsBusdAtOnce(t *testing.T) {
	t.Parallel()
	d := serve(t, "modules:\n"+faulty(t, "gate", "    timeout: 10m\n")+"budget: 10m\n")
	asked := make(chan error, 1)
	go func() { _, err := d.tryCreate("@late:example.com"); asked <- err }()
	eventually(t, "the ask is under way", func() bool {
		_, out := d.request("GET", "/metrics", nil)
		return bytes.Contains(out, []byte(`modulebus_`))
	})
	d.signal(syscall.SIGTERM)
	d.stderr.line(t, "draining")
	d.signal(syscall.SIGTERM)
	if status := d.wait(); status == 0 {
		t.Error("exit status 0 of a busd that did not drain")
	}
	<-asked
}

func TestARequestThatIsTooLargeForNATSIsAFailure(t *testing.T) {
	t.Parallel()
	small := natstest.Start(t, &server.Options{MaxPayload: 64 << 10})
	d := serve(t, "nats: {url: '"+small.ClientURL()+"'}\nmodules:\n"+faulty(t, "gate"))
	v := d.create("@" + strings.Repeat("x", 100<<10) + ":example.com")
	if v.status != 502 || v.Failure != "error" || v.Module != "gate" {
		t.Errorf("%d %s %s; want 502", v.status, v.Module, v.Failure)
	}
	d.stderr.line(t, "max_payload")
	rsp, out := d.request("POST", "/_synapse/client/gate", bytes.Repeat([]byte("x"), 1<<20))
	if rsp.StatusCode != 200 || !bytes.Contains(out, []byte(`{"bytes":1048576}`)) {
		t.Errorf("a page is sent in pieces: %s %s", rsp.Status, out)
	}
	d.stop()
}

func TestNothingIsLeftOfModulesWhenBusdIsKilled(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("only on Linux does the kernel tell children that their parent died")
	}
	d := serve(t, "modules:\n"+faulty(t, "gate"))
	pid := int(d.create("@refused:example.com").Answer.Refusal.AdditionalFields["pid"].(float64))
	d.signal(syscall.SIGKILL)
	d.wait()
	eventually(t, "the worker has ended", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || bytes.Contains(stat, []byte(") Z ")) // Where nobody reaps orphans, it stays a zombie.
	})
}
