package restarts_test

import (
	"flag"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// lanes is how many rounds run beside each other, which wait most of the time.
const lanes = 4

// rounds runs the tests, with three rounds in each lane unless -rapid.checks says otherwise.
func rounds(m *testing.M) int {
	if err := flag.Set("rapid.checks", "3"); err != nil {
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
	"a busd is paused":         func(t *rapid.T, w *world) { anyBusd(t, w).pause() },
	"NATS is paused":           func(_ *rapid.T, w *world) { w.nats.pause() },
	"all goes on":              func(_ *rapid.T, w *world) { w.resume() },
	"a module is delisted":     func(t *rapid.T, w *world) { w.list(anyListing(t), false) },
	"a module is listed":       func(t *rapid.T, w *world) { w.list(anyListing(t), true) },
	"a worker is killed":       func(t *rapid.T, w *world) { w.endWorker(anyModule(t), syscall.SIGKILL) },
	"a worker is stopped":      func(t *rapid.T, w *world) { w.endWorker(anyModule(t), syscall.SIGTERM) },
	"a worker starts":          func(t *rapid.T, w *world) { w.startWorker(anyModule(t)) },
	"a config is refused":      func(t *rapid.T, w *world) { w.refuse(anyModule(t), true) },
	"a config is good again":   func(t *rapid.T, w *world) { w.refuse(anyModule(t), false) },
	"the file is written anew": func(_ *rapid.T, w *world) { w.configure() },
	"NATS is restarted": func(_ *rapid.T, w *world) {
		if w.nats != nil {
			w.nats.end(syscall.SIGKILL)
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

// anyListing is a module that comes onto the list, or goes.
func anyListing(t *rapid.T) string {
	return rapid.SampledFrom([]string{"named", "kept", "child", "loose", "late", "later"}).Draw(t, "listing")
}

// resume has all that is paused go on.
func (w *world) resume() {
	w.nats.resume()
	for _, d := range w.busds {
		d.resume()
	}
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

func TestRestartNeverOpensTheGate(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	var all tally
	t.Cleanup(func() { all.report(t) })
	for lane := range lanes {
		t.Run(strconv.Itoa(lane), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) { round(t, rt, &all) })
		})
	}
}

// tally is what came of all rounds.
type tally struct {
	mu       sync.Mutex
	asks     int
	failures map[string]int
}

func (a *tally) add(asks int, failures map[string]int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failures == nil {
		a.failures = map[string]int{}
	}
	a.asks += asks
	for what, n := range failures {
		a.failures[what] += n
	}
}

func (a *tally) report(t *testing.T) {
	t.Helper()
	t.Logf("%d asks; %v", a.asks, a.failures)
	if a.failures["named absent"] == 0 && !t.Failed() {
		t.Error("of all that was done, nothing made a module absent")
	}
}

// round is one world, what is done to it, and what it decided meanwhile.
func round(t *testing.T, rt *rapid.T, all *tally) {
	t.Helper()
	external, busds := rapid.Bool().Draw(rt, "external NATS"), 1
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
	failures := map[string]int{}
	for _, r := range w.records {
		r.check(rt, w, failures)
	}
	all.add(len(w.records), failures)
}

// names are the steps, in an order that does not change from run to run.
var names = []string{
	"a busd is killed", "a busd is stopped", "a busd starts again", "a worker is killed", "a worker is stopped", "a worker starts",
	"a busd is paused", "NATS is paused", "all goes on", "a module is delisted", "a module is listed", "a config is refused", "a config is good again", "the file is written anew", "NATS is restarted", "a disk is emptied",
}

// recover mends all that was broken, and waits until all is well.
func (w *world) recover() {
	clear(w.refused)
	w.resume()
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
