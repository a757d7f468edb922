package busd_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

func TestOrderIsTheFilesAlsoWhenItChanges(t *testing.T) {
	t.Parallel()
	a, b := faulty(t, "a"), faulty(t, "b")
	d := testbed.Serve(t, "modules:\n"+a+b)
	decides := func(name string) func() bool {
		return func() bool { return d.Create("@refused:example.com").DecidedBy == name }
	}
	if !decides("a")() {
		t.Error("the first module does not decide")
	}
	d.Reconfigure("modules:\n" + b + a)
	testbed.Eventually(t, "the other module decides", decides("b"))
	d.Reconfigure("modules:\n" + a + b)
	d.Signal(syscall.SIGHUP)
	testbed.Eventually(t, "the first module decides again", decides("a"))
	if m := d.Module("b"); m.Order != 2 || m.State != "ready" {
		t.Errorf("%+v; want it to be the second, and ready", m)
	}
	if n := d.Stderr.Count("worker started"); n != 2 {
		t.Errorf("workers were started %d times; another order is no reason", n)
	}
	d.Stop()
}

func TestListThatChangesUnderLoadFailsNoAsk(t *testing.T) {
	t.Parallel()
	list := func(workers, others int) string {
		var text strings.Builder
		for i := range others {
			fmt.Fprintf(&text, "  - module: other%d\n    run: [%s]\n    timeout: 30s\n", i, testbed.Program(t, testbed.Demo))
		}
		return "modules:\n" + text.String() + faulty(t, "gate", fmt.Sprintf("    timeout: 30s\n    workers: %d\n    config: {takes: 20ms}\n", workers)) + "budget: 2s\n"
	}
	d := testbed.Serve(t, list(1, 2))
	change := func(text string) {
		before := d.Stderr.Count("took over the new configuration")
		d.Reconfigure(text)
		d.Signal(syscall.SIGHUP)
		testbed.Eventually(t, "the change is made", func() bool { return d.Stderr.Count("took over the new configuration") > before })
	}
	a := startAskers(d, 16)
	a.more(t, 50)
	change(list(1, 1)) // A module less.
	a.more(t, 50)
	change(list(2, 1)) // A worker more.
	testbed.Eventually(t, "the new workers are alone", func() bool { return d.Module("gate").Workers == 2 && d.Stderr.Count("worker ended", `"gate"`) == 1 })
	change(list(1, 0))
	testbed.Eventually(t, "the new worker is alone", func() bool { return d.Module("gate").Workers == 1 && d.Module("other0").Name == "" })
	a.noneLost(t)
	d.Stop()
}

func TestReloadOfABadFileKeepsTheOldConfiguration(t *testing.T) {
	t.Parallel()
	good := "modules:\n" + faulty(t, "a")
	d := testbed.Serve(t, good)
	d.Reconfigure("modules:\n  - module: a\n    timeout: soon\n")
	d.Stderr.Line(t, "the old one stays", "busd.yaml:", "modules[0].timeout", "soon")
	if v := d.Create("@refused:example.com"); v.DecidedBy != "a" {
		t.Error(v)
	}
	d.Reconfigure(good + "    on_failure: skip\n")
	testbed.Eventually(t, "the next good file is taken over", func() bool { return d.Create("@error:example.com").Status == 200 })
	d.Stop()
}

func TestModulesComeAndGoWithTheFile(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "a"))
	d.Reconfigure("budget: 1s\nmodules:\n" + faulty(t, "b", "    workers: 2\n"))
	testbed.Eventually(t, "the new module decides", func() bool { return d.Create("@refused:example.com").DecidedBy == "b" })
	testbed.Eventually(t, "nothing is left of the old one", func() bool { return d.Module("a").Name == "" })
	testbed.Eventually(t, "both workers are there", func() bool { return d.Module("b").Workers == 2 })
	d.Reconfigure("modules:\n" + faulty(t, "b"))
	testbed.Eventually(t, "one worker is there", func() bool { return d.Module("b").Workers == 1 })
	d.Reconfigure("")
	testbed.Eventually(t, "nobody decides", func() bool { return d.Create("@refused:example.com").Answer == nil })
	d.Stop()
}

func TestReloadSaysWhatNeedsARestart(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "")
	d.Reconfigure("http: {listen: '127.0.0.1:1'}\n")
	d.Stderr.Line(t, "restart busd", "http")
	d.Stop()
}

func TestReloadReachesARunningModule(t *testing.T) {
	t.Parallel()
	demo := func(deny string) string {
		return "modules:\n  - module: demo\n    run: [" + testbed.Program(t, testbed.Demo) + "]\n    config: {deny: ['" + deny + "']}\n"
	}
	d := testbed.Serve(t, demo("@evilguy:example.com"))
	if v := d.Create("@evilguy:example.com"); !v.Refused() || v.Answer.Refusal.Errcode != "M_FORBIDDEN" {
		t.Error(v)
	}
	d.Reconfigure(demo("@mallory:example.com"))
	testbed.Eventually(t, "the new list holds", func() bool { return d.Create("@mallory:example.com").Refused() })
	if v := d.Create("@evilguy:example.com"); v.Refused() {
		t.Errorf("the old list holds, too: %v", v)
	}
	if n := d.Stderr.Count("worker started"); n != 1 {
		t.Errorf("the module was started %d times, want once", n)
	}
	d.Stop()
	if !strings.Contains(string(d.Stderr.Bytes()), "took over the new configuration") {
		t.Error("nothing is said of it")
	}
}
