package exploration_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/combine/combinetest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// faults are what is done to the stage while asks run. Each leaves it as it found it.
var faults = map[string]func(*stage){
	"a worker is killed": func(s *stage) {
		s.replace((*worker).kill)
		s.awaitWorkers()
	},
	"a worker is told to stop": func(s *stage) {
		s.replace(func(p *worker) { p.signal(syscall.SIGTERM); <-p.ended })
		s.awaitWorkers()
	},
	"a worker is paused": func(s *stage) {
		p := s.workers[rand.IntN(len(s.workers))]
		p.signal(syscall.SIGSTOP)
		s.meanwhile(150)
		p.signal(syscall.SIGCONT)
	},
	"a module is paused": func(s *stage) {
		module := modules[rand.IntN(len(modules))].Name
		for _, p := range s.workers {
			if p.module == module {
				p.signal(syscall.SIGSTOP)
				defer p.signal(syscall.SIGCONT)
			}
		}
		s.meanwhile(150)
	},
	"NATS is restarted": func(s *stage) {
		s.nats.Shutdown()
		s.meanwhile(50)
		s.startNATS()
	},
	"the network is slow": func(s *stage) {
		for _, p := range []*proxy{s.near, s.far} {
			p.slow(30 * time.Millisecond)
			defer p.slow(0)
		}
		s.meanwhile(150)
	},
	"workers hear nothing": func(s *stage) {
		defer s.far.shut()()
		s.meanwhile(50)
	},
	"the homeserver hears nothing": func(s *stage) {
		defer s.near.shut()()
		s.meanwhile(50)
	},
	"connections are cut": func(s *stage) {
		s.near.cut()
		s.far.cut()
	},
}

// sequence is each fault twice, or as often as the environment says, in any order.
func sequence(t *testing.T) (names []string) {
	rounds := 2
	if n, err := strconv.Atoi(os.Getenv("MODULEBUS_ROUNDS")); err == nil {
		rounds = n
	}
	for name := range faults {
		names = append(names, slices.Repeat([]string{name}, rounds)...)
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	t.Logf("%d faults", len(names))
	return names
}

func TestDecisionIsNeverWrongWhateverBreaks(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	s := newStage(t)
	stop := s.callers(16)
	t.Cleanup(stop)
	for _, name := range sequence(t) {
		t.Log(name)
		faults[name](s)
		s.meanwhile(80)
	}
	stop()

	// When nothing breaks any more, nothing fails any more.
	s.awaitWorkers()
	deadline := time.Now().Add(patience)
	for well := 0; well < 100; well++ {
		if !s.ask().well() {
			well = 0
		}
		if time.Now().After(deadline) {
			t.Fatal("asks still fail though nothing is broken any more")
		}
	}

	roster := s.client.Roster()
	kinds := map[rosterv1.FailureKind]int{}
	undecided := 0
	for _, r := range s.records {
		if errors.Is(r.err, context.Canceled) {
			undecided++
			continue
		}
		r.check(t, roster)
		for _, f := range r.decision.Failures {
			kinds[f.Kind]++
		}
	}
	t.Logf("%d asks, of which %d were given up; failures: %v", len(s.records), undecided, kinds)
	for _, kind := range []rosterv1.FailureKind{rosterv1.FailureKind_TIMEOUT, rosterv1.FailureKind_ABSENT, rosterv1.FailureKind_ERROR, rosterv1.FailureKind_PANIC} {
		if kinds[kind] == 0 {
			t.Errorf("of all that broke, nothing led to %v", kind)
		}
	}
}

// check holds a decision against asking one module after the other, given what each is known to answer and which of them
// could not.
func (r record) check(t *testing.T, roster *rosterv1.Roster) {
	t.Helper()
	var outcomes []combine.Outcome
	for _, m := range roster.GetModules() {
		outcomes = append(outcomes, r.outcome(t, m))
	}
	want := combinetest.Interpret(r.callback.Options.GetRule(), outcomes, request(r.id, r.callback))
	wanted := bus.Decision[proto.Message]{Answer: want.Answer, RosterRevision: r.decision.RosterRevision}
	if want.By != combine.Nobody {
		wanted.DecidedBy = modules[want.By].Name
		wanted.ByPolicy = len(want.Failures) > 0 && want.Failures[len(want.Failures)-1].Module == want.By
	}
	for _, f := range want.Failures {
		wanted.Failures = append(wanted.Failures, bus.Failure{Module: modules[f.Module].Name, Kind: f.Kind, Policy: f.Policy})
	}
	if diff := cmp.Diff(wanted, r.decision, protocmp.Transform(), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(bus.Failure{}, "Text")); diff != "" {
		t.Errorf("%s of %s: the decision differs (-want +got):\n%s", r.callback.Name, r.id, diff)
	}
	var failed *bus.Error
	if want.FailedBy == combine.Nobody && r.err != nil || want.FailedBy != combine.Nobody && (!errors.As(r.err, &failed) || failed.Module != modules[want.FailedBy].Name) {
		t.Errorf("%s of %s: got %v, want module %d to fail it", r.callback.Name, r.id, r.err, want.FailedBy)
	}
}

// outcome is what is known of a module: its failure as it was reported, if the script or what broke can have led to it,
// and else what the script says.
func (r record) outcome(t *testing.T, m *rosterv1.Module) combine.Outcome {
	t.Helper()
	does, answer := script(m.GetName(), r.id, r.callback)
	i := slices.IndexFunc(r.decision.Failures, func(f bus.Failure) bool { return f.Module == m.GetName() })
	if i < 0 {
		if does == errs || does == panics || does == hangs {
			return combine.Outcome{Failure: unreported, Policy: callbacksv1.OnFailure_FAIL}
		}
		return combine.Outcome{Answer: answer}
	}
	o := combine.Outcome{Failure: r.decision.Failures[i].Kind, Policy: r.policy(m)}
	if o.Policy == callbacksv1.OnFailure_REFUSE {
		refusal := &callbacksv1.Refusal{Errcode: "M_FORBIDDEN", Error: "Module " + m.GetName() + " could not be asked"}
		if declared := r.callback.Options.GetRefusal(); declared != nil {
			refusal = declared
		}
		o.Answer = r.callback.Refused(refusal)
	}
	switch o.Failure {
	case rosterv1.FailureKind_TIMEOUT, rosterv1.FailureKind_ABSENT, rosterv1.FailureKind_BUSY, rosterv1.FailureKind_BREAKER_OPEN:
		return o
	case rosterv1.FailureKind_ERROR:
		if does == errs {
			return o
		}
	case rosterv1.FailureKind_PANIC:
		if does == panics {
			return o
		}
	}
	t.Errorf("%s of %s: nothing can have led to %v", r.callback.Name, r.id, r.decision.Failures[i])
	return o
}

// unreported is the failure of a module that must have failed, and of which nothing was said. It must not matter.
const unreported = rosterv1.FailureKind_MALFORMED

func (r record) policy(m *rosterv1.Module) callbacksv1.OnFailure {
	i := slices.IndexFunc(m.GetCallbacks(), func(i *rosterv1.Interest) bool { return i.GetCallback() == r.callback.FullName() })
	policy := m.GetCallbacks()[i].GetOnFailure()
	if policy == callbacksv1.OnFailure_REFUSE && !r.callback.CanRefuse() {
		return callbacksv1.OnFailure_FAIL
	}
	return policy
}
