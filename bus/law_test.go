package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/combine/combinetest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// All times of a scenario differ, so that what comes first is never left to the scheduler: replies take some whole
// seconds and a power of two of nanoseconds of their own, and what ends an ask as a whole does so on a quarter.
const (
	budgetQuarter   = 250 * time.Millisecond
	deadlineQuarter = 500 * time.Millisecond
	cancelQuarter   = 750 * time.Millisecond
)

// scenario is what happens to one client.
type scenario struct {
	kind       combinetest.Kind
	sequential bool // evaluated so by the operator's word
	budget     time.Duration
	modules    []actor
	asks       []happening
}

// happening is one ask.
type happening struct {
	request  proto.Message
	deadline time.Duration // of the caller; 0 for none
	cancel   time.Duration // when the caller goes away; 0 for never
}

// actor is a module.
type actor struct {
	workers        []string
	json           bool
	timeout, hedge time.Duration
	local, origin  callbacksv1.OnFailure
	reactions      []reaction // to its requests, in order; then nothing comes
}

// reaction is what comes of one request.
type reaction struct {
	After  time.Duration
	Answer proto.Message // nil for no opinion, or as Reply says
	Reply  *nats.Msg     // the failure or garbage that comes instead of an answer
	Lost   bool
	Twice  bool // the reply comes a second time
	Unsent bool // the connection does not take the request
}

var policies = []callbacksv1.OnFailure{skip, refuse, fail}

func drawScenario(t *rapid.T, kind combinetest.Kind) scenario {
	seconds := func(lowest, most int, label string) time.Duration {
		return time.Duration(rapid.IntRange(lowest, most).Draw(t, label)) * time.Second
	}
	reactions := rapid.Custom(func(t *rapid.T) reaction {
		r := reaction{After: time.Duration(rapid.IntRange(0, 5).Draw(t, "after")) * time.Second}
		switch rapid.IntRange(0, 11).Draw(t, "does") {
		case 0, 1, 2:
			r.Answer = kind.Answer.Draw(t, "answer")
		case 3, 4:
			r.Reply = failure(busy)
		case 5:
			r.Reply = &nats.Msg{Header: nats.Header{"Status": {"503"}}}
		case 6:
			r.Reply = failure(rapid.SampledFrom([]rosterv1.FailureKind{timeout, failed, panicked, malformed}).Draw(t, "failure"))
		case 7:
			r.Reply = &nats.Msg{Data: []byte("\xff\xff")}
		case 8:
			r.Lost = true
		case 9:
			r.Unsent = true
		}
		r.Twice = rapid.IntRange(0, 4).Draw(t, "twice") == 0
		return r
	})
	actors := rapid.Custom(func(t *rapid.T) actor {
		return actor{
			workers:   []string{"w0", "w1", "w2"}[:rapid.IntRange(0, 3).Draw(t, "workers")],
			json:      rapid.IntRange(0, 4).Draw(t, "json") == 0,
			timeout:   seconds(1, 4, "timeout"),
			hedge:     seconds(0, 3, "hedge"),
			local:     rapid.SampledFrom(policies).Draw(t, "policy"),
			origin:    rapid.SampledFrom(policies).Draw(t, "policy for others"),
			reactions: rapid.SliceOfN(reactions, 0, 8).Draw(t, "reactions"),
		}
	})
	s := scenario{
		kind:       kind,
		sequential: rapid.IntRange(0, 3).Draw(t, "sequential") == 0,
		budget:     seconds(1, 12, "budget") + budgetQuarter,
		modules:    rapid.SliceOfN(actors, 1, 6).Draw(t, "modules"),
	}
	for range rapid.IntRange(1, 2).Draw(t, "asks") {
		h := happening{request: kind.Request.Draw(t, "request")}
		if h.deadline = seconds(-6, 8, "deadline"); h.deadline >= 0 {
			h.deadline += deadlineQuarter
		}
		if h.cancel = seconds(-9, 6, "cancel"); h.cancel >= 0 {
			h.cancel += cancelQuarter
		}
		s.asks = append(s.asks, h)
	}
	return s
}

// roster is what the scenario's modules registered, in order.
func (s scenario) roster() *rosterv1.Roster {
	r := &rosterv1.Roster{Revision: 1, BudgetMs: uint32(s.budget.Milliseconds())}
	for i, a := range s.modules {
		m := module(s.kind.Callback, name(i), &rosterv1.Interest{
			TimeoutMs: uint32(a.timeout.Milliseconds()), HedgeMs: uint32(a.hedge.Milliseconds()), OnFailure: a.local, OnFailureFederated: a.origin,
		}, a.workers...)
		m.Json = a.json
		r.Modules = append(r.Modules, m)
	}
	if s.sequential {
		r.Sequential = []string{s.kind.Callback.FullName()}
	}
	return r
}

func name(module int) string { return fmt.Sprintf("m%d", module) }

func (s scenario) parallel() bool {
	return combine.Parallel(s.kind.Callback.Options) && (!s.sequential || !s.kind.Callback.Options.GetSpeculative())
}

// react is the script of a [sim].
func (s scenario) react(t *testing.T) func(*exchange) []arrival {
	requests, of := 0, map[string]int{}
	return func(x *exchange) []arrival {
		var i int
		if _, err := fmt.Sscanf(x.module, "m%d", &i); err != nil {
			t.Fatal(err)
		}
		after, nth := time.Duration(1)<<requests, of[x.module]
		requests++
		of[x.module]++
		if nth >= len(s.modules[i].reactions) {
			return nil
		}
		r := s.modules[i].reactions[nth]
		reply := r.Reply
		if reply == nil {
			reply = data(r.Answer)
		}
		switch {
		case r.Unsent:
			return unsendable
		case r.Lost:
			return nil
		case r.Twice:
			return []arrival{{r.After + after, reply}, {r.After + after + time.Minute, reply}}
		}
		return []arrival{{r.After + after, reply}}
	}
}

// result is what came of an ask.
type result struct {
	bus.Decision[proto.Message]

	err        error
	start, end time.Time
	log        []*exchange
	left       int // requests still waited for
}

// run lets the scenario happen in a bubble.
func (s scenario) run(t *testing.T) (results []result) {
	synctest.Test(t, func(t *testing.T) {
		line := &sim{script: s.react(t)}
		c := over(t, line, s.roster())
		for _, h := range s.asks {
			before := len(line.log)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := result{start: time.Now()}
			if h.cancel > 0 {
				time.AfterFunc(h.cancel, cancel)
			}
			if h.deadline > 0 {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, h.deadline)
				defer stop()
			}
			r.Decision, r.err = c.Ask(ctx, s.kind.Callback, h.request)
			r.end, r.left, r.log = time.Now(), line.waiting, line.log[before:]
			results = append(results, r)
			<-time.After(time.Hour) // Whatever still arrives does so before the next ask.
		}
	})
	return results
}

// The law of the driver: whatever is late, lost, doubled, busy or cancelled, the decision is what asking the modules one
// after the other comes to, given what each of them answered in time.
func TestDecisionIsThatOfAskingInOrder(t *testing.T) {
	t.Parallel()
	for _, kind := range combinetest.Kinds {
		t.Run(kind.Callback.Name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				s := drawScenario(rt, kind)
				rt.Logf("%+v", s)
				for i, r := range s.run(t) {
					w := witness{s, s.asks[i], r, rt}
					w.check()
				}
			})
		})
	}
}

// witness holds one ask against the interpreter. What it knows of the modules is what the line saw.
type witness struct {
	scenario
	happening
	result

	*rapid.T
}

// known is what became of a module in an ask.
type known struct {
	combine.Outcome

	at    time.Time // when it was known
	asked bool
}

func (w witness) until() time.Time {
	end := w.start.Add(w.budget)
	if w.deadline > 0 && w.deadline < w.budget {
		end = w.start.Add(w.deadline)
	}
	return end
}

func (w witness) check() {
	n := len(w.modules)
	if w.kind.Rule() == callbacksv1.Rule_SOLE {
		n = 1
	}
	modules, outcomes := make([]known, n), make([]combine.Outcome, n)
	for i := range modules {
		modules[i] = w.module(i)
		outcomes[i] = modules[i].Outcome
	}
	want := combinetest.Interpret(w.kind.Rule(), outcomes, w.request)
	undecided := len(want.Failures) > 0 && want.Failures[len(want.Failures)-1].Kind == unknown.Failure
	if errors.Is(w.err, context.Canceled) {
		if !undecided || w.cancel == 0 || !w.end.Equal(w.start.Add(w.cancel)) {
			w.Fatalf("cancelled after %v, where %v was decided", w.end.Sub(w.start), want.Decision)
		}
	} else {
		if undecided {
			w.Fatalf("decided before what matters was known: %v, %v; known: %v", w.Decision, w.err, outcomes)
		}
		w.checkDecision(want.Decision)
		w.checkTime(modules[:len(want.Saw)])
	}
	w.checkAsked(modules, want)
	if w.left != 0 {
		w.Fatalf("%d replies are still waited for", w.left)
	}
}

// unknown is the outcome of what was not known when the ask ended. If it matters, the ask ended too early.
var unknown = combine.Outcome{Failure: rosterv1.FailureKind_BREAKER_OPEN, Policy: fail}

// module finds out what became of a module, and checks that it was asked as it had to be.
func (w witness) module(i int) known {
	a := w.modules[i]
	var xs []*exchange
	for _, x := range w.log {
		if x.module == name(i) {
			xs = append(xs, x)
		}
	}
	if len(xs) == 0 {
		if w.until().After(w.end) {
			return known{Outcome: unknown}
		}
		return known{Outcome: w.failure(i, timeout), at: w.until()}
	}
	deadline := xs[0].at.Add(a.timeout)
	if w.until().Before(deadline) {
		deadline = w.until()
	}
	(&conduct{witness: w, actor: a, index: i, xs: xs, deadline: deadline}).check()
	k := w.outcome(i, xs)
	k.asked = true
	if k.at.After(deadline) || k.Failure == unknown.Failure && !deadline.After(w.end) {
		k.Outcome, k.at = w.failure(i, timeout), deadline
	}
	return k
}

// outcome is the first answer, or the last failure when nothing else is waited for. That nobody is there counts only where
// no worker said anything.
func (w witness) outcome(i int, xs []*exchange) known {
	k := known{Outcome: unknown}
	type event struct {
		at     time.Time
		answer proto.Message
		kind   rosterv1.FailureKind
	}
	var events []event
	for _, x := range xs {
		if x.unsent != nil {
			events = append(events, event{at: x.at, kind: absent})
		} else if x.reply != nil {
			answer, kind := w.read(x.reply)
			events = append(events, event{x.over, answer, kind})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	said := absent
	for _, e := range events {
		if e.kind == 0 {
			k.Outcome, k.at = combine.Outcome{Answer: e.answer}, e.at
			return k
		}
		if e.kind != absent {
			said = e.kind
		}
		waited := slices.ContainsFunc(xs, func(x *exchange) bool {
			return x.unsent == nil && !x.at.After(e.at) && (x.reply == nil || x.over.After(e.at))
		})
		if !waited {
			k.Outcome, k.at = w.failure(i, said), e.at // Of those at one time, the last.
		}
	}
	return k
}

// read is what a reply of a scenario says.
func (w witness) read(m *nats.Msg) (proto.Message, rosterv1.FailureKind) {
	if f := wire.FailureOf(m); f != nil {
		return nil, f.Kind
	}
	answer := w.kind.Callback.NewReply()
	if err := proto.Unmarshal(m.Data, answer); err != nil {
		return nil, malformed
	}
	if combine.Empty(answer) {
		return nil, 0
	}
	if r, ok := answer.(interface{ GetRefusal() *callbacksv1.Refusal }); ok && r.GetRefusal() != nil && r.GetRefusal().GetErrcode() == "" {
		r.GetRefusal().Errcode = "M_FORBIDDEN"
	}
	return answer, 0
}

func (w witness) failure(i int, kind rosterv1.FailureKind) combine.Outcome {
	d, a := w.kind.Callback, w.modules[i]
	o := combine.Outcome{Failure: kind, Policy: a.local}
	if r, ok := w.request.(*callbacksv1.CheckEventForSpamRequest); ok && string(r.GetEvent().GetJson()) == `{"sender":"@a:x"}` {
		o.Policy = a.origin
	}
	if o.Policy == refuse && !d.CanRefuse() {
		o.Policy = fail
	}
	if o.Policy == refuse {
		refusal := cannotBeAsked(name(i)).GetRefusal()
		if d.Options.GetRefusal() != nil {
			refusal = d.Options.GetRefusal()
		}
		o.Answer = d.Refused(refusal)
	}
	return o
}

func (w witness) checkDecision(want combine.Decision) {
	wanted := bus.Decision[proto.Message]{Answer: want.Answer, RosterRevision: 1}
	for _, f := range want.Failures {
		wanted.Failures = append(wanted.Failures, bus.Failure{Module: name(f.Module), Kind: f.Kind, Policy: f.Policy})
	}
	if want.By != combine.Nobody {
		wanted.DecidedBy = name(want.By)
		wanted.ByPolicy = len(want.Failures) > 0 && want.Failures[len(want.Failures)-1].Module == want.By
	}
	if diff := cmp.Diff(wanted, w.Decision, protocmp.Transform(), cmpopts.EquateEmpty(), wordless); diff != "" {
		w.Fatalf("the decision differs (-want +got):\n%s", diff)
	}
	var err *bus.Error
	switch failed := errors.As(w.err, &err); {
	case want.FailedBy == combine.Nobody:
		if w.err != nil {
			w.Fatalf("got the error %v", w.err)
		}
	case !failed || err.Module != name(want.FailedBy) || err.Kind != wanted.Failures[len(wanted.Failures)-1].Kind:
		w.Fatalf("got the error %v, want one of %s", w.err, name(want.FailedBy))
	}
}

// checkTime wants the ask to have ended as soon as all was known that matters.
func (w witness) checkTime(needed []known) {
	last := w.start
	for _, k := range needed {
		if k.at.After(last) {
			last = k.at
		}
	}
	if !w.end.Equal(last) {
		w.Fatalf("the ask took %v, and all was known after %v", w.end.Sub(w.start), last.Sub(w.start))
	}
}

// checkAsked holds who was asked, and what, against whom asking in order asks.
func (w witness) checkAsked(modules []known, want combinetest.Verdict) {
	asked := 0
	for i, k := range modules {
		if k.asked && asked == i {
			asked++
		} else if k.asked {
			w.Fatalf("module %d was asked, and one before it was not", i)
		}
	}
	hurried, cancelled := !w.until().After(w.end), errors.Is(w.err, context.Canceled)
	switch needed := len(want.Saw); {
	case w.parallel() && (asked < needed || asked < len(modules) && w.end.After(w.start)):
		w.Fatalf("%d of %d modules were asked at once, of which %d were needed", asked, len(modules), needed)
	case !w.parallel() && (asked > needed || asked < needed && !hurried && !cancelled):
		w.Fatalf("%d modules were asked, of which %d were needed", asked, needed)
	}
	for _, x := range w.log {
		var i int
		if _, err := fmt.Sscanf(x.module, "m%d", &i); err != nil || i >= len(want.Saw) {
			continue
		}
		wanted, got := want.Saw[i], w.kind.Callback.NewRequest()
		err := proto.Unmarshal(x.Data, got)
		if x.JSON {
			err = wire.FromJSON(x.Data, got, false)
			wanted = throughJSON(wanted) // Where {} and nothing are the same.
		}
		if diff := cmp.Diff(wanted, got, protocmp.Transform(), cmpopts.EquateEmpty(), wordless); err != nil || diff != "" {
			w.Fatalf("%s was asked something else, %v (-want +got):\n%s", x.module, err, diff)
		}
	}
}

func throughJSON(m proto.Message) proto.Message {
	raw, err := wire.ToJSON(m)
	back := m.ProtoReflect().New().Interface()
	if err != nil || wire.FromJSON(raw, back, false) != nil {
		return nil
	}
	return back
}
