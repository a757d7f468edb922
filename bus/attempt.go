package bus

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/redact"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// slots is how many workers of one module may be asked at the same time.
const slots = 2

// attempt is one module's part of an ask: what it was asked, and what it said. See ADR 17.
type attempt struct {
	asking   *asking
	step     *step
	index    int           // the module's, in the walk
	request  proto.Message // as the module gets it
	at       time.Time     // zero until it is asked
	deadline time.Time
	hedgeAt  time.Time // when a second worker may be asked, as configured by the operator; zero for never
	halfAt   time.Time // when a worker that has said nothing is doubted; zero for never
	sent     [slots]sent
	choice   choice
	file     string // where the module reads the request, if that is larger than a message
	hedged   bool   // a second worker was asked, or the budget of second requests forbade it
	trial    bool   // the breaker lets this one try
	expired  bool
	judged   bool          // the breaker knows what came of it
	failure  *wire.Failure // the module's failure so far: see fold

	outcome combine.Outcome // once told
	told    bool
	worker  string // the worker that answered or failed; empty if it is not known
	took    time.Duration
	span    spans.Span
}

// sent is a request to one worker.
type sent struct {
	ticket natsrequest.Ticket
	worker *worker // nil where NATS chose one
	at     time.Time
	out    bool // a reply is waited for
}

func (t *attempt) waiting() bool { return t.sent[0].out || t.sent[1].out }

// next is when the attempt must act without a reply; zero is never.
func (t *attempt) next() time.Time {
	if t.expired || !t.waiting() {
		return time.Time{}
	}
	next := t.deadline
	for _, at := range []time.Time{t.hedgeAt, t.halfAt} {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
}

// ask sends the request to a worker of the module.
func (t *attempt) ask(req proto.Message, now time.Time) {
	t.at = now
	t.begin()
	if t.step.unserved != "" {
		t.fail(&wire.Failure{Kind: rosterv1.FailureKind_ABSENT, Text: t.step.unserved})
		return
	}
	var ok bool
	if t.trial, ok = t.step.breaker.admit(now); !ok {
		t.judged = true
		t.fail(&wire.Failure{Kind: rosterv1.FailureKind_BREAKER_OPEN, Text: "it has not answered in time again and again, and is not asked for a while"})
		return
	}
	given := min(t.asking.until.Sub(now), t.step.timeout)
	t.request, t.deadline = t.asking.shape(t.step, req), now.Add(given)
	if t.choice = newChoice(t.step, t.stamp(now)); t.choice.more() && !t.choice.sure() {
		t.halfAt = now.Add(given / 2)
	}
	if t.choice.several() && t.step.hedge > 0 && t.step.hedge < given {
		t.hedgeAt = now.Add(t.step.hedge)
	}
	t.send(0, now)
}

// stamp converts a time to the form that workers and breakers keep.
func (t *attempt) stamp(now time.Time) stamp { return t.asking.client.stamp(now) }

// send sends the request to the next worker, and reports whether there was one to send it to.
func (t *attempt) send(slot int, now time.Time) bool {
	w, ok := t.choice.next(t.stamp(now), t.step.pause, slot == 0) // A second request goes to another worker.
	if ok {
		t.sendTo(w, slot, now, w.batchIn(slot))
	}
	return ok
}

// sendTo sends the request to a worker. A request that cannot be sent has failed, unless another worker has it.
func (t *attempt) sendTo(w *worker, slot int, now time.Time, b *natsrequest.Batch) {
	data, err := t.asking.encode(t.request, t.step.json)
	if err != nil {
		t.fail(&wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: err.Error()})
		return
	}
	if t.step.stored && !t.asking.fits(data) { // JetStream might store it, but it could not be delivered.
		t.unsent(nats.ErrMaxPayload)
		return
	}
	r := natsrequest.Request{Subject: t.step.subject, Data: data, JSON: t.step.json, Batch: b, Held: t.asking.held, Trace: t.carried()}
	if t.step.pulls && t.asking.large(data) {
		r.Data, r.File, r.Size = wire.Elsewhere, t.pull(data), len(data)
	}
	if w != nil {
		r.Subject = w.subject
	}
	if left := t.deadline.Sub(now); left < t.step.timeout {
		r.Timeout = max(left, time.Millisecond)
	}
	ticket, err := t.asking.client.requester.Send(t.asking, slots*t.index+slot, r)
	if err != nil {
		t.unsent(err)
		return
	}
	t.sent[slot] = sent{ticket, w, now, true}
	w.asked(t.stamp(now))
}

// sendAlone sends a request again, by itself, whose batch came back.
func (t *attempt) sendAlone(slot int, now time.Time) {
	w := t.received(slot).worker
	if !t.expired {
		t.sendTo(w, slot, now, nil)
	}
}

// unsent handles a request that the connection did not accept.
func (t *attempt) unsent(err error) {
	f := t.fold(wire.FailureOf(wire.Unsent(err)))
	if !t.waiting() {
		t.fail(f)
	}
}

// received ends the wait for a reply, and returns what was sent to get it.
func (t *attempt) received(slot int) *sent {
	s := &t.sent[slot]
	s.out = false
	s.worker.released()
	return s
}

// ignore ends the wait for a reply that has come and changes nothing.
func (t *attempt) ignore(slot int) {
	if t.sent[slot].out {
		t.received(slot)
	}
}

// hear handles a reply.
func (t *attempt) hear(slot int, m *nats.Msg) {
	now := t.asking.now()
	if !t.sent[slot].out { // It was abandoned while the reply was on its way.
		return
	}
	if m == natsrequest.Alone {
		t.sendAlone(slot, now)
		return
	}
	s := t.received(slot)
	answer, failure := t.read(m)
	if failure != nil {
		failure.Text = redact.Text(failure.Text, t.asking.request)
		t.hearFailure(s, slot, failure, now)
		return
	}
	s.worker.heard(t.stamp(now))
	if t.step.breaker.answered(t.stamp(now)) {
		t.log(zerolog.InfoLevel, "breaker closed: the module answers again")
	}
	t.step.hedges.earn()
	t.judged = true
	t.tell(combine.Outcome{Answer: answer}, s.worker, now)
	t.abandon()
}

// read decodes a reply: a module's, or JetStream's.
func (t *attempt) read(m *nats.Msg) (proto.Message, *wire.Failure) {
	if t.step.stored {
		return nil, unstored(m)
	}
	return decode(t.asking.plan.callback.Declaration, m, t.skips)
}

// skips logs that a part of an answer is ignored, the first time.
func (t *attempt) skips(part error) {
	if t.step.streak.firstSkip() {
		t.log(zerolog.WarnLevel, "a part of its answer is ignored, here and from now on: "+redact.Text(wire.OneLine(part.Error()), t.asking.request))
	}
}

// hearFailure handles a worker's failure. If the worker is busy, or has gone while others remain, the request goes
// to another worker.
func (t *attempt) hearFailure(s *sent, slot int, f *wire.Failure, now time.Time) {
	switch {
	case f.Kind != rosterv1.FailureKind_ABSENT:
		s.worker.heard(t.stamp(now))
	case f.Text == "" && s.worker != nil: // NATS says so, not this side's connection.
		t.lost(s.worker, now)
	}
	folded := t.fold(f)
	if elsewhere(f) && !t.expired && t.send(slot, now) {
		return
	}
	if !t.waiting() {
		t.blame(s.worker)
		t.fail(folded)
	}
}

// lost notes that a worker has no subscription left, and tells all asks that wait for the worker.
func (t *attempt) lost(w *worker, now time.Time) {
	if w.doubt(t.stamp(now), t.step.pause) {
		t.asking.client.requester.Lost(w.subject)
	}
}

// elsewhere reports whether another worker of the module may do better.
func elsewhere(f *wire.Failure) bool {
	return f.Kind == rosterv1.FailureKind_BUSY || f.Kind == rosterv1.FailureKind_ABSENT
}

// fold makes a worker's failure the module's. ABSENT never replaces another kind: if any worker replied, the module is
// present.
func (t *attempt) fold(f *wire.Failure) *wire.Failure {
	if t.failure == nil || f.Kind != rosterv1.FailureKind_ABSENT {
		t.failure = f
	}
	return t.failure
}

// look does what is due at a time.
func (t *attempt) look(now time.Time) {
	switch {
	case !t.waiting():
	case !now.Before(t.deadline):
		t.expire(now)
	case due(t.halfAt, now):
		t.halfAt = time.Time{}
		t.rescue(now)
	case due(t.hedgeAt, now):
		t.hedgeAt = time.Time{}
		if !t.hedged && t.step.hedges.take() {
			t.hedge(now)
		}
	}
}

func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// rescue looks for workers that seem to reply to nothing, and asks another worker if the callback is free of side
// effects. While the module answers other asks, the budget of hedges does not limit that.
func (t *attempt) rescue(now time.Time) {
	stuck := false
	for i := range t.sent {
		if s := &t.sent[i]; s.out && t.stuck(s, now) {
			stuck = true
		}
	}
	if stuck && t.step.speculative && !t.hedged && t.choice.more() && (t.step.breaker.answering(t.stamp(t.at), t.stamp(now)) || t.step.hedges.take()) {
		t.hedge(now)
	}
}

// stuck reports whether a worker, or the group, seems to reply to nothing since it got a request. If the request has waited for half of
// the module's time, the worker is doubted, or asked in another way if it is the only one. A caller that gave less time than the module has
// causes neither.
func (t *attempt) stuck(s *sent, now time.Time) bool {
	only, long := t.choice.only(), now.Sub(s.at) >= t.step.timeout/2
	switch {
	case s.worker == nil && only != nil && long:
		only.unheard(nil)
		return true
	case !s.worker.stuckWith(t.stamp(s.at), t.stamp(now)):
		return false
	case only != nil && long:
		only.unheard(only)
	case long:
		s.worker.doubt(t.stamp(now), t.step.pause)
	}
	return true
}

// nudge handles the news that a worker which the attempt waits for may be gone. The worker may also be draining, so
// its answer still counts.
func (t *attempt) nudge(now time.Time) {
	if s := &t.sent[0]; t.step.speculative && !t.expired && s.out && s.worker.doubted() && !t.hedged {
		t.hedge(now)
	}
}

// hedge asks a second worker, if the budget of hedges allows. Callbacks with side effects are never hedged.
func (t *attempt) hedge(now time.Time) {
	t.hedged = true
	if t.choice.more() && t.send(1, now) {
		t.step.metrics.hedged()
	}
}

// expire ends the wait for a module whose time is over.
func (t *attempt) expire(now time.Time) {
	t.expired = true
	if given := t.deadline.Sub(t.at); given >= t.step.timeout { // Not where the caller had less time than the module.
		t.judge(now)
	}
	for i := range t.sent {
		if t.sent[i].out {
			t.blame(t.sent[i].worker)
		}
	}
	t.fail(&wire.Failure{Kind: rosterv1.FailureKind_TIMEOUT})
}

// judge reports a timeout to the breaker, unless a worker that is not doubted is left: then the module itself is not
// in doubt.
func (t *attempt) judge(now time.Time) {
	if !t.at.IsZero() && !t.judged && (t.trial || !t.choice.several() || t.choice.allDoubted()) {
		t.judged = true
		if t.step.breaker.late(t.stamp(t.at), t.stamp(now), now, t.trial) {
			t.log(zerolog.WarnLevel, "breaker opened: the module did not answer in time, and is left alone for "+t.step.pause.String())
		}
	}
}

func (t *attempt) log(level zerolog.Level, text string) {
	t.asking.client.log.WithLevel(level).Str("callback", t.asking.plan.callback.FullName()).Str("module", t.step.module).Msg(text)
}

// fail makes the failure the module's, and applies the policy for it.
func (t *attempt) fail(f *wire.Failure) {
	if !t.asking.walk.Waiting(t.index) {
		return
	}
	t.failure = f
	o := combine.Outcome{Failure: f.Kind, Policy: t.asking.policy(t.step)}
	if o.Policy == callbacksv1.OnFailure_REFUSE {
		c := t.asking.plan.callback
		o.Answer = c.Refused(refusal(c.Declaration, t.step.module))
	}
	t.tell(o, nil, t.asking.now())
}

// tell passes the module's outcome to the walk, and keeps it for the trace.
func (t *attempt) tell(o combine.Outcome, by *worker, now time.Time) {
	if !t.asking.walk.Waiting(t.index) {
		return
	}
	t.outcome, t.told = o, true
	if !t.at.IsZero() {
		t.took = now.Sub(t.at)
	}
	t.blame(by)
	t.asking.walk.Tell(t.index, o)
	t.finish()
}

// blame remembers the worker that was last asked or heard.
func (t *attempt) blame(w *worker) {
	if w != nil {
		t.worker = w.name
	}
}

// abandon ends the wait for the module's answers, and cancels its requests.
func (t *attempt) abandon() {
	for slot := range t.sent {
		s := &t.sent[slot]
		if !s.out {
			continue
		}
		t.received(slot)
		if t.expired || t.step.stored { // The module's own deadline has ended it, or busd has not delivered it yet.
			t.asking.client.requester.Forget(s.ticket)
		} else {
			t.asking.client.requester.Cancel(s.ticket, t.step.cancel)
		}
	}
	if !t.judged && t.trial {
		t.step.breaker.withdrawn()
	}
	t.judged = true
}

// report gives the module's part of the ask to the metrics and the log.
func (t *attempt) report() {
	if t.outcome.Failure == rosterv1.FailureKind_FAILURE_KIND_UNSPECIFIED {
		t.step.metrics.answered(t.took)
		t.step.streak.answered()
		return
	}
	t.step.streak.failed(t.failure)
	t.step.metrics.failed(t.outcome.Failure, t.outcome.Policy)
	t.asking.client.log.Warn().Str("callback", t.asking.plan.callback.FullName()).Str("module", t.step.module).
		Str("policy", strings.ToLower(t.outcome.Policy.String())).Err(t.failure).Msg("module failed")
}

// text describes the module's failure.
func (t *attempt) text() string {
	if t.failure == nil {
		return ""
	}
	return t.failure.Text
}
