package integration_test

import (
	"strings"
	"syscall"
	"testing"
)

func TestTheOrderOfTheFileDecidesAlsoWhenItChanges(t *testing.T) {
	t.Parallel()
	a, b := faulty(t, "a"), faulty(t, "b")
	d := serve(t, "modules:\n"+a+b)
	decides := func(name string) func() bool {
		return func() bool { return d.create("@refused:example.com").DecidedBy == name }
	}
	if !decides("a")() {
		t.Error("the first module does not decide")
	}
	d.reconfigure("modules:\n" + b + a)
	eventually(t, "the other module decides", decides("b"))
	d.reconfigure("modules:\n" + a + b)
	d.signal(syscall.SIGHUP)
	eventually(t, "the first module decides again", decides("a"))
	if m := d.module("b"); m.Order != 2 || m.State != "ready" {
		t.Errorf("%+v; want it to be the second, and ready", m)
	}
	if n := d.stderr.count("worker started"); n != 2 {
		t.Errorf("workers were started %d times; another order is no reason", n)
	}
	d.stop()
}

func TestABadFileKeepsTheOldConfiguration(t *testing.T) {
	t.Parallel()
	good := "modules:\n" + faulty(t, "a")
	d := serve(t, good)
	d.reconfigure("modules:\n  - module: a\n    timeout: soon\n")
	d.stderr.line(t, "the old one stays", "busd.yaml:", "modules[0].timeout", "soon")
	if v := d.create("@refused:example.com"); v.DecidedBy != "a" {
		t.Error(v)
	}
	d.reconfigure(good + "    on_failure: skip\n")
	eventually(t, "the next good file is taken over", func() bool { return d.create("@error:example.com").status == 200 })
	d.stop()
}

func TestModulesComeAndGoWithTheFile(t *testing.T) {
	t.Parallel()
	d := serve(t, "modules:\n"+faulty(t, "a"))
	d.reconfigure("modules:\n" + faulty(t, "b", "    workers: 2\n"))
	eventually(t, "the new module decides", func() bool { return d.create("@refused:example.com").DecidedBy == "b" })
	eventually(t, "nothing is left of the old one", func() bool { return d.module("a").Name == "" })
	eventually(t, "both workers are there", func() bool { return d.module("b").Workers == 2 })
	d.reconfigure("modules:\n" + faulty(t, "b"))
	eventually(t, "one worker is there", func() bool { return d.module("b").Workers == 1 })
	d.reconfigure("")
	eventually(t, "nobody decides", func() bool { return d.create("@refused:example.com").Answer == nil })
	d.stop()
}

func TestWhatNeedsARestartIsSaid(t *testing.T) {
	t.Parallel()
	d := serve(t, "")
	d.reconfigure("http: {listen: '127.0.0.1:1'}\n")
	d.stderr.line(t, "restart busd", "http")
	d.stop()
}

func TestTheNextConfigurationReachesARunningModule(t *testing.T) {
	t.Parallel()
	demo := func(deny string) string {
		return "modules:\n  - module: demo\n    run: [" + program(t, "demo-module") + "]\n    config: {deny: ['" + deny + "']}\n"
	}
	d := serve(t, demo("@evilguy:example.com"))
	if v := d.create("@evilguy:example.com"); !v.refused() || v.Answer.Refusal.Errcode != "M_FORBIDDEN" {
		t.Error(v)
	}
	d.reconfigure(demo("@mallory:example.com"))
	eventually(t, "the new list holds", func() bool { return d.create("@mallory:example.com").refused() })
	if v := d.create("@evilguy:example.com"); v.refused() {
		t.Errorf("the old list holds, too: %v", v)
	}
	if n := d.stderr.count("worker started"); n != 1 {
		t.Errorf("the module was started %d times, want once", n)
	}
	d.stop()
	if !strings.Contains(string(d.stderr.bytes()), "took over the new configuration") {
		t.Error("nothing is said of it")
	}
}
