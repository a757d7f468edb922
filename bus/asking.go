package bus

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// asking is one ask under way. It is the driver around a [combine.Walk]: it has the clock and the network.
type asking struct {
	walk     combine.Walk
	ctx      context.Context //nolint:containedctx // An asking is one call's, and has what the call has.
	client   *Client
	plan     *plan
	steps    []step // those of the plan that this request is for
	request  proto.Message
	start    time.Time
	latest   time.Time // when the clock was last read
	until    time.Time // end of the budget
	byCaller bool      // the caller's deadline comes before the operator's
	attempts []attempt // by step
	replies  chan reply
	timer    *time.Timer // puts a tick among the replies
	ticks    time.Time   // when the timer fires; zero while it is not set
	buffer   []byte
	lent     bool // modules may be reading the buffer
	held     bool // requests wait until all have been made: so they share a system call
	encoded  encoded
	files    []func()    // each closes a file that a module may read
	nudged   atomic.Bool // a nudge is among the replies
	ticked   atomic.Bool // likewise a tick
	trace    Trace       // for the observer
	shadow   bool        // it is for a module in shadow
}

type reply struct {
	place int // of the attempt and its slot; or nudge, or tick
	msg   *nats.Msg
}

// encoded is what the buffer holds.
type encoded struct {
	request proto.Message
	json    bool
}

// takeAsking returns an asking of the client with room for the given number of steps. Each client has its own pool, because a timer
// that was made in one bubble of testing/synctest cannot be used in another.
func takeAsking(c *Client, steps int) *asking {
	if a, ok := c.askings.Get().(*asking); ok && cap(a.attempts) >= steps {
		return a
	}
	return newAsking(max(steps, 1))
}

// newAsking makes an asking whose channel never changes. Its timer may still fire when the asking is back in the
// pool, or when it serves another ask.
func newAsking(steps int) *asking {
	a := &asking{attempts: make([]attempt, steps), replies: make(chan reply, slots*steps+2)}
	a.timer = time.AfterFunc(time.Hour, a.tick)
	a.timer.Stop()
	return a
}

func (a *asking) begin(ctx context.Context, c *Client, r *roster, p *plan, req proto.Message) {
	a.ctx, a.client, a.plan, a.request = ctx, c, p, req
	a.steps = p.narrow(req)
	a.walk.Start(p.callback.Options.GetRule(), p.parallel, len(a.steps), req)
	a.start = time.Now()
	a.latest = a.start
	a.until = a.start.Add(r.budget)
	deadline, ok := ctx.Deadline()
	if a.byCaller = ok && deadline.Before(a.until); a.byCaller {
		a.until = deadline
	}
	a.attempts = a.attempts[:len(a.steps)]
	for i := range a.attempts { // They are zero: end clears them.
		t := &a.attempts[i]
		t.asking, t.step, t.index = a, &a.steps[i], i
	}
}

// now reads the clock. Nothing else of an ask does: to read it takes longer than most of what an ask does.
func (a *asking) now() time.Time {
	a.latest = a.start.Add(time.Since(a.start))
	return a.latest
}

// end returns the asking to the pool. No reply can reach it afterwards. Requests whose answers are no longer wanted
// are cancelled.
func (a *asking) end() {
	a.ignore()
	for i := range a.attempts {
		a.attempts[i].abandon()
		a.attempts[i].finish()
	}
	a.ignore() // What came before the rest was cancelled.
	a.nudged.Store(false)
	clear(a.attempts)
	for _, closeFile := range a.files {
		closeFile()
	}
	a.reclaim()
	pool := &a.client.askings
	a.ctx, a.client, a.plan, a.steps, a.request, a.encoded, a.files, a.shadow = nil, nil, nil, nil, nil, encoded{}, nil, false
	a.walk.Start(callbacksv1.Rule_RULE_UNSPECIFIED, false, 0, nil)
	pool.Put(a)
}

// ignore takes in what has come and changes nothing any more. Nothing waits for these replies after it.
func (a *asking) ignore() {
	for len(a.replies) > 0 {
		switch r := <-a.replies; r.place {
		case nudge:
		case tick:
			a.tickCame() // Only together with its tick: another tick may be on its way.
		default:
			a.attempts[r.place/slots].ignore(r.place % slots)
		}
	}
}

// Receive implements [natsrequest.Receiver]. It never blocks: the channel has room for one reply in each place,
// which is the most there can be, and for a nudge and a tick.
func (a *asking) Receive(place int, m *nats.Msg) { a.replies <- reply{place, m} }

// Lost implements [natsrequest.Receiver].
func (a *asking) Lost() {
	if a.nudged.CompareAndSwap(false, true) {
		a.replies <- reply{place: nudge}
	}
}

// tick makes the asking look at the clock. A late tick, of an earlier ask, does nothing.
func (a *asking) tick() {
	if a.ticked.CompareAndSwap(false, true) {
		a.replies <- reply{place: tick}
	}
}

// await drives the walk until there is a decision, or the caller no longer wants one.
func (a *asking) await(ctx context.Context) error {
	a.advance()
	for !a.walk.Done() {
		select {
		case r := <-a.replies:
			a.hear(r)
		case <-ctx.Done():
			a.now()
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			a.hearAll()
			a.look(a.until)
		}
		a.advance()
	}
	return nil
}

func (a *asking) hear(r reply) {
	switch r.place {
	case nudge:
		a.nudged.Store(false)
		a.nudge()
	case tick:
		a.tickCame()
		a.hearAll()
		a.look(a.now())
	default:
		a.attempts[r.place/slots].hear(r.place%slots, r.msg)
	}
}

// hearAll hears the replies that arrived before time ran out, even if this goroutine sees the replies and the
// deadline late.
func (a *asking) hearAll() {
	for len(a.replies) > 0 {
		a.hear(<-a.replies)
	}
}

// advance asks the modules that the walk wants asked now, and sets the timer for the next deadline.
func (a *asking) advance() {
	now := a.start
	for i, req, ok := a.walk.Next(); ok; i, req, ok = a.walk.Next() {
		if i > 0 && !a.plan.parallel {
			now = a.now()
		}
		a.held = a.plan.parallel && len(a.steps) > 1
		a.attempts[i].ask(req, now)
	}
	if a.held {
		a.held = false
		a.client.requester.Flush()
	}
	if !a.walk.Done() {
		a.tickBy(a.next())
	}
}

// tickBy makes sure that a tick comes at that time or earlier. It sets the timer only where the tick would come too late: most asks end
// long before their deadline, so the timer of one ask may still run in a later ask, which gets an early tick and then sets its own.
func (a *asking) tickBy(at time.Time) {
	if a.ticks.IsZero() || at.Before(a.ticks) {
		a.ticks = at
		a.timer.Reset(time.Until(at))
	}
}

// tickCame notes that a tick has come.
func (a *asking) tickCame() {
	a.ticked.Store(false)
	a.ticks = time.Time{}
}

// next is when the asking must act although no reply has come.
func (a *asking) next() time.Time {
	next := a.until
	for i := range a.attempts {
		if t := a.attempts[i].next(); !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}

// encode returns the request's bytes. They are made once for all modules that get the same request.
func (a *asking) encode(req proto.Message, json bool) (_ []byte, err error) {
	if a.encoded == (encoded{req, json}) {
		return a.buffer, nil
	}
	a.reclaim()
	a.buffer, err = wire.Append(a.buffer, req, wire.Mapping(json))
	a.encoded = encoded{req, json}
	if err != nil {
		a.encoded = encoded{} // Half a request must not go to the next module.
	}
	return a.buffer, err
}

// look does what is due at the given time. When the budget has run out, it gives up on all modules.
func (a *asking) look(now time.Time) {
	over := !now.Before(a.until)
	for i := range a.attempts {
		if t := &a.attempts[i]; over {
			t.expire(now)
		} else {
			t.look(now)
		}
	}
}

// The places of messages that are not replies: see [asking.Lost] and [asking.tick].
const (
	nudge = -1
	tick  = -2
)

// nudge looks for requests that were sent to workers which may be gone.
func (a *asking) nudge() {
	now := a.now()
	for i := range a.attempts {
		a.attempts[i].nudge(now)
	}
}

// policy returns what a failure of the step's module means. It looks at the origin only here, because finding it out
// decodes the event.
func (a *asking) policy(s *step) callbacksv1.OnFailure {
	if s.onFailure == s.onFailureFederated && s.onFailureFederated == s.onFailurePolicy {
		return s.onFailure
	}
	switch a.origin() {
	case OriginFederated:
		return s.onFailureFederated
	case OriginPolicyServer:
		return s.onFailurePolicy
	}
	return s.onFailure
}

// origin is what the caller said with [WithOrigin], or what follows from the sender of the request's event.
func (a *asking) origin() Origin {
	if o, said := a.ctx.Value(originKey{}).(Origin); said {
		return o
	}
	return originOf(a.request, a.client.name)
}

// decide makes a [Decision] of what the walk decided: the walk has numbers for modules, the decision has names.
func (a *asking) decide(r *roster) (Decision[proto.Message], error) {
	w := a.walk.Decision()
	d := Decision[proto.Message]{Answer: w.Answer, RosterRevision: r.revision}
	last := combine.Failure{Module: combine.Nobody}
	for _, last = range w.Failures {
		d.Failures = append(d.Failures, Failure{a.steps[last.Module].module, last.Kind, last.Policy, a.attempts[last.Module].text()})
	}
	if w.FailedBy != combine.Nobody {
		f := d.Failures[len(d.Failures)-1]
		return d, &Error{a.plan.callback.FullName(), f.Module, f.Kind, f.Text}
	}
	if w.By != combine.Nobody {
		d.DecidedBy, d.ByPolicy = a.steps[w.By].module, last.Module == w.By
	}
	return d, nil
}

// report gives the result of the ask to the metrics, the log and the observer.
func (a *asking) report(d *Decision[proto.Message], err error, shadows *shadowing) {
	if shadows != nil {
		defer shadows.over() // Also where the observer panics: Close waits for them.
	}
	took, outcome := a.latest.Sub(a.start), outcomeOf(d, err)
	a.plan.metrics.asked(outcome, took)
	a.decided(d, err, outcome)
	for i := range a.attempts {
		if t := &a.attempts[i]; t.told {
			t.report()
		}
	}
	if observe := a.client.opts.Observe; observe != nil {
		a.trace.fill(a, d, err)
		a.trace.Took, a.trace.Outcome = took, outcome
		if shadows != nil {
			a.trace.AwaitShadows = func(then func([]ModuleTrace)) { shadows.await(a.trace.Modules, then) }
		}
		observe(&a.trace)
		clear(a.trace.Modules)
		a.trace = Trace{Modules: a.trace.Modules[:0]}
	}
}

// decided counts the decision of an ask.
func (a *asking) decided(d *Decision[proto.Message], err error, o Outcome) {
	module := d.DecidedBy
	if failed, ok := errors.AsType[*Error](err); ok {
		module = failed.Module
	}
	for i := range a.attempts {
		if s := a.attempts[i].step; module != "" && s.module == module && s.metrics.decided(o) {
			return
		}
	}
	a.plan.metrics.nobodys[placeOf(o)].Inc()
}
