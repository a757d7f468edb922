//go:build integration

package python_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/subjects"
)

// faulty is the entry of a module that does what a user's name says.
func faulty(t *testing.T, config, more string) string {
	t.Helper()
	return runs(t, "faulty", config, "    on_failure: fail\n"+more)
}

func serveFaulty(t *testing.T, more string) *testbed.Daemon {
	t.Helper()
	d := testbed.Serve(t, faulty(t, "{}", more))
	testbed.Eventually(t, "the module refuses", func() bool { return d.Create(alice).Refused() })
	return d
}

func user(does string) string { return "@" + does + ":example.com" }

// by is what a refusal of the module says.
func by(v testbed.Verdict) string {
	if !v.Refused() {
		return ""
	}
	return v.Answer.Refusal.Error
}

func TestModuleThatBlocksItsLoopFailsUnderItsPolicyAndSaysWhere(t *testing.T) {
	t.Parallel()
	d := serveFaulty(t, "    timeout: 500ms\n")
	for _, who := range []string{user("blocks"), alice} { // The other question hangs as little.
		if got := d.Create(who); got.Answer != nil || got.Failure == "" {
			t.Errorf("%s: %v; want a failure", who, got)
		}
	}
	testbed.Eventually(t, "the log says where it blocks", func() bool {
		return d.Stderr.Count("the event loop is blocked") > 0 && d.Stderr.Count("in blocks") > 0
	})
	testbed.Eventually(t, "it refuses again", func() bool { return d.Create(alice).Refused() })
	testbed.Eventually(t, "the log says that it goes on", func() bool { return d.Stderr.Count("goes round again after") > 0 })
}

func TestModuleThatExitsInACallbackHasFailedAndGoesOn(t *testing.T) {
	t.Parallel()
	d := serveFaulty(t, "")
	first := by(d.Create(alice))
	for _, does := range []string{"exits", "cancels"} {
		if got := d.Create(user(does)); got.Failure != "panic" {
			t.Errorf("%s: %v; want a panic", does, got)
		}
	}
	if pid, _, _ := strings.Cut(by(d.Create(alice)), " "); !strings.HasPrefix(first, pid+" ") {
		t.Errorf("first it said %q, and later process %s", first, pid)
	}
}

func TestLoopThatRaisesAndExitsIsCalledAgain(t *testing.T) {
	t.Parallel()
	d := serveFaulty(t, "")
	testbed.Eventually(t, "it was called three times", func() bool { return strings.HasSuffix(by(d.Create(alice)), " after 3 ticks") })
	for _, text := range []string{"looping background call failed", "a tick fails", "a tick exits"} {
		if d.Stderr.Count(text) == 0 {
			t.Errorf("the log does not say %q", text)
		}
	}
}

func TestModuleThatExitsInItsConstructorIsStartedAgainWithAnErrorInTheLog(t *testing.T) {
	t.Parallel()
	d := testbed.Prepare(t, faulty(t, "{exits: true}", ""))
	d.Start()
	testbed.Eventually(t, "the log says why", func() bool { return d.Stderr.Count("SystemExit") > 0 })
	testbed.Eventually(t, "busd starts it again", func() bool { return d.Stderr.Count("worker started") > 1 })
}

func TestModuleThatPrintsMegabytesAnswers(t *testing.T) {
	t.Parallel()
	d := serveFaulty(t, "    timeout: 60s\nbudget: 60s\n")
	if got := d.Create(user("prints")); !got.Refused() {
		t.Errorf("%v; want a refusal", got)
	}
	if n := len(d.Stderr.Bytes()); n > 64<<20 {
		t.Errorf("busd's log has %d bytes", n)
	}
}

func TestModuleThatForksAnswersOnce(t *testing.T) {
	t.Parallel()
	d := serveFaulty(t, "")
	pid, _, _ := strings.Cut(by(d.Create(alice)), " ")
	for _, does := range []string{"forks", "starts", "nothing"} {
		if got := by(d.Create(user(does))); !strings.HasPrefix(got, pid+" ") {
			t.Errorf("%s: %q answers; want process %s", does, got, pid)
		}
	}
	d.Stop() // Its child has the worker's standard output, and must not keep busd from ending.
}

func TestWorkerThatCrashesIsReplaced(t *testing.T) {
	t.Parallel()
	d := serveFaulty(t, "    timeout: 500ms\n")
	if got := d.Create(user("crashes")); got.Answer != nil || got.Failure == "" {
		t.Errorf("%v; want a failure", got)
	}
	testbed.Eventually(t, "another process refuses", func() bool { return d.Create(alice).Refused() })
}

func TestWorkerOutlivesBusd(t *testing.T) {
	t.Parallel()
	address, state := testbed.FreeAddress(t), filepath.Join(t.TempDir(), "state")
	config := fmt.Sprintf("state_dir: %q\nnats: {listen: %q}\nmodules:\n  - module: faulty\n    config: {}\n", state, address)
	d := testbed.Serve(t, config)
	worker := testbed.Execute(t, testbed.Python(t), absolute(t, "integration/python/testdata/faulty.py")).With(
		"PYTHONPATH=" + absolute(t, "bridges/python")).With(d.Environment("faulty")...).Start()
	testbed.Eventually(t, "it refuses", func() bool { return d.Create(alice).Refused() })
	d.Stop()
	d = testbed.Serve(t, config)
	testbed.Eventually(t, "it refuses again", func() bool { return d.Create(alice).Refused() })
	worker.Signal(syscall.SIGTERM)
	if status := worker.Wait(); status != 0 {
		t.Errorf("it ended with status %d:\n%s", status, worker.Stderr)
	}
	if got := d.Create(alice); got.Failure != "absent" {
		t.Errorf("after it left: %v; want it to be absent", got)
	}
}

// TestSynapseModuleWaitsForTheHomeserver has none come, with a module whose constructor must not run before it does.
func TestSynapseModuleWaitsForTheHomeserver(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n  - module: waits\n    config: {}\n")
	worker := testbed.Execute(t, testbed.Python(t), "-m", "modulebus.synapse", "synapse_http_antispam.HTTPAntispam").With(
		"PYTHONPATH=" + absolute(t, "bridges/python")).With(d.Environment("waits")...).Start()
	testbed.Eventually(t, "it says that it waits", func() bool { return worker.Stderr.Count("waiting for the homeserver") == 1 })
	worker.Signal(syscall.SIGTERM)
	if status := worker.Wait(); status != 0 || worker.Stderr.Count("Traceback") > 0 {
		t.Errorf("it ended with status %d:\n%s", status, worker.Stderr)
	}
}

// TestWorkerThatNATSDoesNotLetHearItsQuestionsIsSeen has a NATS with users of its own, whose permissions lack the questions.
func TestWorkerThatNATSDoesNotLetHearItsQuestionsIsSeen(t *testing.T) {
	t.Parallel()
	asked := subjects.For("example.com").Callback(subjects.UserMayCreateRoom.Declaration, "faulty")
	deaf := &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{asked, asked + ".*"}}}
	broker := natstest.Start(t, &server.Options{Users: []*server.User{
		{Username: "busd", Password: "p"}, {Username: "faulty", Password: "p", Permissions: deaf},
	}})
	at := func(user string) string { return "nats://" + user + ":p@" + broker.Addr().String() }
	d := testbed.Serve(t, fmt.Sprintf("nats: {url: %q}\nmodules: [{module: faulty}]\n", at("busd")))
	testbed.Execute(t, testbed.Python(t), absolute(t, "integration/python/testdata/faulty.py")).With(
		"PYTHONPATH="+absolute(t, "bridges/python"), "MODULEBUS_NATS_URL="+at("faulty"),
		"MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=faulty").Start()
	testbed.Eventually(t, "busd says so", func() bool {
		return strings.Contains(d.Module("faulty").LastError, "NATS does not let this worker subscribe "+asked)
	})
	if got := d.Create(alice); got.Failure != "absent" {
		t.Errorf("%v; want the module to be absent", got)
	}
}
