package bus

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// slots is how many workers of one module may be asked at the same time.
const slots = 2

// attempt is one module's part of an ask.
type attempt struct {
	request  proto.Message // as the module gets it
	at       time.Time
	deadline time.Time
	hedgeAt  time.Time // zero when no second worker is to be asked
	tickets  [slots]natsrequest.Ticket
	out      [slots]bool // whether a reply is waited for
	worker   int         // the next worker of the module's to ask by name
	left     int         // workers that may still be asked by name
	expired  bool
	said     *wire.Failure // the module's failure so far: see reported
	verdict  func(error)   // for the breaker, where it wants one
	judged   bool          // whether it was given
}

// text is what there is to say of the module's failure.
func (t *attempt) text() string {
	if t.said == nil {
		return ""
	}
	return t.said.Text
}

func (t *attempt) waiting() bool { return t.out[0] || t.out[1] }

// next is when the attempt has to be looked at; zero is never.
func (t *attempt) next() time.Time {
	switch {
	case t.expired || !t.waiting():
		return time.Time{}
	case !t.hedgeAt.IsZero():
		return t.hedgeAt
	}
	return t.deadline
}

func (t *attempt) hedgeDue(now time.Time) bool {
	return t.waiting() && !t.hedgeAt.IsZero() && !now.Before(t.hedgeAt)
}

// askModule sends the request to any worker of a module; or to one by name, where a second may be asked after it.
func (a *asking) askModule(i int, req proto.Message, now time.Time) {
	step, t := &a.steps[i], &a.attempts[i]
	if step.unserved != "" {
		a.failed(i, &wire.Failure{Kind: rosterv1.FailureKind_ABSENT, Text: step.unserved})
		return
	}
	verdict, ok := step.breaker.admit()
	if !ok {
		a.failed(i, &wire.Failure{Kind: rosterv1.FailureKind_BREAKER_OPEN})
		return
	}
	left := a.until.Sub(now)
	*t = attempt{
		request: a.shape(step, req), at: now, deadline: now.Add(min(left, step.timeout)),
		left: len(step.workers), verdict: verdict,
	}
	if t.left > 1 {
		t.worker = rand.IntN(t.left)
	}
	if step.hedge > 0 && t.left > 1 && step.hedge < step.timeout {
		t.hedgeAt = now.Add(step.hedge)
		a.send(i, 0, a.nextWorker(i), now)
		return
	}
	a.send(i, 0, step.subject, now)
}

// nextWorker is the subject of a worker that has not been asked by name, or the module's when there is none left.
func (a *asking) nextWorker(i int) string {
	step, t := &a.steps[i], &a.attempts[i]
	if t.left == 0 {
		return step.subject
	}
	subject := step.workers[t.worker%len(step.workers)]
	t.worker++
	t.left--
	return subject
}

// send sends the request of an attempt. What cannot be sent has failed, unless another worker has it.
func (a *asking) send(i, slot int, subject string, now time.Time) {
	step, t := &a.steps[i], &a.attempts[i]
	data, err := a.encode(t.request, step.json)
	if err != nil {
		a.failed(i, &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: err.Error()})
		return
	}
	r := natsrequest.Request{Subject: subject, Data: data, JSON: step.json}
	if left := t.deadline.Sub(now); left < step.timeout {
		r.Timeout = max(left, time.Millisecond)
	}
	t.tickets[slot], err = a.client.requester.Send(a, slots*i+slot, r)
	t.out[slot] = err == nil
	if !t.waiting() {
		a.failed(i, t.reported(unsent(err)))
	}
}

// unsent is what it means that the connection did not take a request.
func unsent(err error) *wire.Failure {
	if errors.Is(err, nats.ErrMaxPayload) {
		return &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: "the request is larger than the server's max_payload"}
	}
	return &wire.Failure{Kind: rosterv1.FailureKind_ABSENT, Text: err.Error()}
}

// hedge asks a second worker, since the first takes long, as far as the budget for that goes.
func (a *asking) hedge(i int) {
	a.attempts[i].hedgeAt = time.Time{}
	if a.attempts[i].left > 0 && a.steps[i].hedges.take() {
		a.steps[i].metrics.hedged.Inc()
		a.send(i, 1, a.nextWorker(i), time.Now())
	}
}

// hear takes in a reply.
func (a *asking) hear(r reply) {
	i, slot := r.place/slots, r.place%slots
	t, step := &a.attempts[i], &a.steps[i]
	t.out[slot] = false
	answer, failure := decode(a.plan.callback, r.msg)
	if failure != nil {
		a.hearFailure(i, slot, failure)
		return
	}
	a.judge(i, nil)
	a.abandon(i)
	step.metrics.answered(time.Since(t.at))
	step.hedges.earn()
	a.walk.Tell(i, combine.Outcome{Answer: answer})
}

// hearFailure takes in a worker's failure. One that is busy, or is not there any more though others are, leaves the
// request to another.
func (a *asking) hearFailure(i, slot int, f *wire.Failure) {
	t := &a.attempts[i]
	failure := t.reported(f)
	switch {
	case elsewhere(f) && t.left > 0 && !t.expired:
		a.send(i, slot, a.nextWorker(i), time.Now())
	case !t.waiting():
		a.failed(i, failure)
	}
}

// reported is the module's failure, after this one of a worker. Who is asked last may not be there; where another worker
// said something, the module is not absent.
func (t *attempt) reported(f *wire.Failure) *wire.Failure {
	if t.said == nil || f.Kind != rosterv1.FailureKind_ABSENT {
		t.said = f
	}
	return t.said
}

// judge tells the breaker, once, what came of asking a module.
func (a *asking) judge(i int, err error) {
	if t := &a.attempts[i]; !t.judged {
		t.judged = true
		a.steps[i].breaker.judge(t.verdict, err)
	}
}

// elsewhere reports whether another worker of the module may do better.
func elsewhere(f *wire.Failure) bool {
	return f.Kind == rosterv1.FailureKind_BUSY || f.Kind == rosterv1.FailureKind_ABSENT
}

// abandon ends the wait for what was sent to a module.
func (a *asking) abandon(i int) {
	for slot, out := range a.attempts[i].out {
		switch {
		case !out:
		case a.attempts[i].expired: // The module's own clock has told it.
			a.client.requester.Forget(a.attempts[i].tickets[slot])
		default:
			a.client.requester.Cancel(a.attempts[i].tickets[slot], a.steps[i].cancel)
		}
	}
	a.attempts[i].out = [slots]bool{}
	a.judge(i, errOther)
}
