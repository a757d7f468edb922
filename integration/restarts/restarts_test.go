package restarts_test

import (
	"flag"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// rounds runs the tests, with ten rounds unless -rapid.checks says otherwise.
func rounds(m *testing.M) int {
	if err := flag.Set("rapid.checks", "10"); err != nil {
		return fail(err)
	}
	flag.Parse() // What is given has the last word.
	return m.Run()
}

// steps are what is done to a round's world.
var steps = map[string]func(*rapid.T, *world){
	"a busd is killed":         func(t *rapid.T, w *world) { w.endBusd(anyBusd(t, w), syscall.SIGKILL) },
	"a busd is stopped":        func(t *rapid.T, w *world) { w.endBusd(anyBusd(t, w), syscall.SIGTERM) },
	"a busd starts again":      func(t *rapid.T, w *world) { w.restart(anyBusd(t, w)) },
	"a worker is killed":       func(t *rapid.T, w *world) { w.endWorker(anyModule(t), syscall.SIGKILL) },
	"a worker is stopped":      func(t *rapid.T, w *world) { w.endWorker(anyModule(t), syscall.SIGTERM) },
	"a worker starts":          func(t *rapid.T, w *world) { w.startWorker(anyModule(t)) },
	"a config is refused":      func(t *rapid.T, w *world) { w.refuse(anyModule(t), true) },
	"a config is good again":   func(t *rapid.T, w *world) { w.refuse(anyModule(t), false) },
	"the file is written anew": func(_ *rapid.T, w *world) { w.configure() },
	"NATS is restarted": func(_ *rapid.T, w *world) {
		if w.nats != nil {
			w.nats.Shutdown()
			w.nats.WaitForShutdown()
			w.startNATS()
		}
	},
	"a disk is emptied": func(t *rapid.T, w *world) {
		d := anyBusd(t, w)
		w.endBusd(d, syscall.SIGKILL)
		w.wipe(d)
		w.startBusd(d)
	},
}

func anyBusd(t *rapid.T, w *world) *daemon {
	return w.busds[rapid.IntRange(0, len(w.busds)-1).Draw(t, "which busd")]
}

// anyModule is one whose workers run elsewhere.
func anyModule(t *rapid.T) string {
	return rapid.SampledFrom([]string{"named", "kept", "loose"}).Draw(t, "module")
}

// restart starts a busd that does not run, and kills one that does before it does so.
func (w *world) restart(d *daemon) {
	w.endBusd(d, syscall.SIGKILL)
	w.startBusd(d)
}

// refuse writes a configuration that the module refuses, or takes.
func (w *world) refuse(module string, refused bool) {
	w.refused[module] = refused
	w.configure()
}

func TestNoRestartOpensTheGate(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	t.Parallel()
	failures, asks := map[string]int{}, 0
	rapid.Check(t, func(rt *rapid.T) {
		external := rapid.Bool().Draw(rt, "external NATS")
		busds := 1
		if external {
			busds = rapid.IntRange(1, 2).Draw(rt, "busd")
		}
		w := newWorld(t, external, busds)
		defer w.close()
		w.await("busd knows all modules", func() bool { return !w.guesses.Load() })
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			steps[rapid.SampledFrom(names).Draw(rt, "step")](rt, w)
			<-time.After(time.Duration(rapid.IntRange(0, 400).Draw(rt, "pause")) * time.Millisecond) // Faults meet, or do not.
		}
		w.recover()
		w.mu.Lock()
		defer w.mu.Unlock()
		asks += len(w.records)
		for _, r := range w.records {
			r.check(rt, w, failures)
		}
	})
	t.Logf("%d asks; %v", asks, failures)
	if failures["named absent"] == 0 && !t.Failed() {
		t.Error("of all that was done, nothing made a module absent")
	}
}

// names are the steps, in an order that does not change from run to run.
var names = []string{
	"a busd is killed", "a busd is stopped", "a busd starts again", "a worker is killed", "a worker is stopped", "a worker starts",
	"a config is refused", "a config is good again", "the file is written anew", "NATS is restarted", "a disk is emptied",
}

// recover mends all that was broken, and waits until all is well.
func (w *world) recover() {
	clear(w.refused)
	w.configure()
	for _, d := range w.busds {
		if !d.runs() {
			w.startBusd(d)
		}
	}
	for _, m := range modules {
		if m.workers > 0 {
			w.startWorker(m.name)
		}
	}
	for _, d := range w.busds {
		w.await("all modules are ready again", func() bool {
			status, _ := w.get(d.url + "/readyz")
			return status == 200
		})
	}
}
