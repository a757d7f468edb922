package restarts_test

import (
	"flag"
	"slices"
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

// steps are what is done to a round's stage.
var steps = map[string]func(*rapid.T, *stage){
	"a busd is killed":         func(t *rapid.T, s *stage) { s.endBusd(anyBusd(t, s), syscall.SIGKILL) },
	"a busd is stopped":        func(t *rapid.T, s *stage) { s.endBusd(anyBusd(t, s), syscall.SIGTERM) },
	"a busd starts again":      func(t *rapid.T, s *stage) { s.restart(anyBusd(t, s)) },
	"a busd is paused":         func(t *rapid.T, s *stage) { anyBusd(t, s).pause() },
	"NATS is paused":           func(_ *rapid.T, s *stage) { s.nats.pause() },
	"all goes on":              func(_ *rapid.T, s *stage) { s.resume() },
	"a module is delisted":     func(t *rapid.T, s *stage) { s.list(anyListing(t), false) },
	"a module is listed":       func(t *rapid.T, s *stage) { s.list(anyListing(t), true) },
	"a worker is killed":       func(t *rapid.T, s *stage) { s.endWorker(anyModule(t), syscall.SIGKILL) },
	"a worker is stopped":      func(t *rapid.T, s *stage) { s.endWorker(anyModule(t), syscall.SIGTERM) },
	"a worker starts":          func(t *rapid.T, s *stage) { s.startWorker(anyModule(t)) },
	"a config is refused":      func(t *rapid.T, s *stage) { s.refuse(anyModule(t), true) },
	"a config is good again":   func(t *rapid.T, s *stage) { s.refuse(anyModule(t), false) },
	"the file is written anew": func(_ *rapid.T, s *stage) { s.configure() },
	"NATS is restarted": func(_ *rapid.T, s *stage) {
		if s.nats != nil {
			s.nats.end(syscall.SIGKILL)
			s.startNATS()
		}
	},
	"a disk is emptied": func(t *rapid.T, s *stage) {
		d := anyBusd(t, s)
		s.endBusd(d, syscall.SIGKILL)
		s.wipe(d)
		s.startBusd(d)
	},
}

func anyBusd(t *rapid.T, s *stage) *daemon {
	return s.busds[rapid.IntRange(0, len(s.busds)-1).Draw(t, "which busd")]
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
func (s *stage) resume() {
	s.nats.resume()
	for _, d := range s.busds {
		d.resume()
	}
}

// restart starts a busd that does not run, and kills one that does before it does so.
func (s *stage) restart(d *daemon) {
	s.endBusd(d, syscall.SIGKILL)
	s.startBusd(d)
}

// refuse writes a configuration that the module refuses, or takes.
func (s *stage) refuse(module string, refused bool) {
	s.refused[module] = refused
	s.configure()
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

// round is one stage, what is done to it, and what it decided meanwhile.
func round(t *testing.T, rt *rapid.T, all *tally) {
	t.Helper()
	external, busds := rapid.Bool().Draw(rt, "external NATS"), 1
	if external {
		busds = rapid.IntRange(1, 2).Draw(rt, "busd")
	}
	s := newStage(t, external, busds)
	defer s.close()
	s.await("busd knows all modules", func() bool {
		s.startAll()
		return !s.guesses.Load()
	})
	for range rapid.IntRange(1, 6).Draw(rt, "steps") {
		steps[rapid.SampledFrom(names).Draw(rt, "step")](rt, s)
		<-time.After(time.Duration(rapid.IntRange(0, 400).Draw(rt, "pause")) * time.Millisecond) // Faults meet, or do not.
	}
	s.recover()
	s.mu.Lock()
	defer s.mu.Unlock()
	failures := map[string]int{}
	for _, r := range s.records {
		r.check(rt, s, failures)
	}
	all.add(len(s.records), failures)
}

// names are the steps, in an order that does not change from run to run.
var names = []string{
	"a busd is killed", "a busd is stopped", "a busd starts again", "a worker is killed", "a worker is stopped", "a worker starts",
	"a busd is paused", "NATS is paused", "all goes on", "a module is delisted", "a module is listed", "a config is refused", "a config is good again", "the file is written anew", "NATS is restarted", "a disk is emptied",
}

// recover mends all that was broken, and waits until all is well.
func (s *stage) recover() {
	clear(s.refused)
	s.resume()
	s.configure()
	for _, d := range s.busds {
		s.await("all modules are ready again", func() bool {
			s.startAll()
			status, _ := s.get(d.url + "/readyz")
			return status == 200
		})
	}
}

// startAll starts what does not run, as an operator's supervisor would. A worker may have met the configuration that it refuses; busd
// and NATS may have found that a connection of another round has their port, while they did not run.
func (s *stage) startAll() {
	if s.nats != nil && !s.nats.runs() {
		s.startNATS()
	}
	for _, d := range s.busds {
		if !d.runs() {
			s.startBusd(d)
		}
	}
	for _, m := range modules {
		if m.workers > 0 && !slices.ContainsFunc(s.workers[m.name], (*process).runs) {
			s.startWorker(m.name)
		}
	}
}
