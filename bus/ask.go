package bus

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// ask is the one path that every callback takes.
func ask[Request, Reply proto.Message](
	ctx context.Context, c *Client, cb subjects.Callback[Request, Reply], req Request,
) (Decision[Reply], error) {
	r := c.roster.Load()
	plan := &r.plans[cb.Index]
	if len(plan.steps) == 0 {
		return Decision[Reply]{RosterRevision: r.revision}, nil
	}
	d, err := c.run(ctx, r, plan, req)
	return typed[Reply](d), err
}

func (c *Client) run(ctx context.Context, r *roster, p *plan, req proto.Message) (Decision[proto.Message], error) {
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return Decision[proto.Message]{RosterRevision: r.revision}, err
	}
	a := askings.Get().(*asking)
	a.begin(ctx, c, r, p, req)
	err := a.await(ctx)
	d := Decision[proto.Message]{RosterRevision: r.revision}
	if err == nil {
		d, err = decide(r, p, a.walk.Decision())
	}
	p.metrics.asked(&d, err, time.Since(a.start))
	a.end()
	return d, err
}

// asking is one ask under way. It is the driver around a [combine.Walk]: it has the clock and the network.
type asking struct {
	walk    combine.Walk
	client  *Client
	plan    *plan
	request proto.Message
	start   time.Time
	until   time.Time // of the budget
	sent    []sent
	replies chan reply
	timer   *time.Timer
	buffer  []byte
	encoded encoded
}

// sent is one module's part of an ask.
type sent struct {
	ticket   wire.Ticket
	at       time.Time
	deadline time.Time
	waiting  bool
}

type reply struct {
	i   int
	msg *nats.Msg
}

// encoded is what the buffer holds.
type encoded struct {
	request proto.Message
	json    bool
}

var askings = sync.Pool{New: func() any {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &asking{timer: timer}
}}

func (a *asking) begin(ctx context.Context, c *Client, r *roster, p *plan, req proto.Message) {
	a.client, a.plan, a.request = c, p, req
	a.walk.Start(p.callback.Options.GetRule(), p.parallel, len(p.steps), req)
	a.start = time.Now()
	a.until = a.start.Add(r.budget)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(a.until) {
		a.until = deadline
	}
	if len(p.steps) > cap(a.sent) {
		a.sent = make([]sent, len(p.steps))
		a.replies = make(chan reply, len(p.steps))
	}
	a.sent = a.sent[:len(p.steps)]
	clear(a.sent)
	a.encoded = encoded{}
}

// end returns the asking to the pool. No reply can reach it afterwards.
func (a *asking) end() {
	a.timer.Stop()
	for i := range a.sent {
		if a.sent[i].waiting {
			a.client.line.Forget(a.sent[i].ticket)
		}
	}
	for len(a.replies) > 0 {
		<-a.replies
	}
	a.client, a.plan, a.request, a.encoded = nil, nil, nil, encoded{}
	a.walk.Start(callbacksv1.Rule_RULE_UNSPECIFIED, false, 0, nil)
	askings.Put(a)
}

// Receive implements [wire.Receiver]. The channel has room for a reply of each module, and there is one at most.
func (a *asking) Receive(i int, m *nats.Msg) { a.replies <- reply{i, m} }

// await drives the walk until there is a decision, or the caller no longer wants one.
func (a *asking) await(ctx context.Context) error {
	a.send()
	a.timer.Reset(time.Until(a.next()))
	for !a.walk.Done() {
		select {
		case r := <-a.replies:
			a.hear(r)
			a.advance()
		case <-a.timer.C:
			a.expire(time.Now())
			a.advance()
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			a.expire(a.until)
		}
	}
	return nil
}

func (a *asking) advance() {
	if !a.walk.Done() {
		a.send()
		a.timer.Reset(time.Until(a.next()))
	}
}

// next is when the next module, or the budget, runs out of time.
func (a *asking) next() time.Time {
	next := a.until
	for i := range a.sent {
		if a.sent[i].waiting && a.sent[i].deadline.Before(next) {
			next = a.sent[i].deadline
		}
	}
	return next
}

// send asks whom the walk wants asked now.
func (a *asking) send() {
	now := a.start
	for i, req, ok := a.walk.Next(); ok; i, req, ok = a.walk.Next() {
		if i > 0 && !a.plan.parallel {
			now = time.Now()
		}
		a.sendTo(i, req, now)
	}
}

func (a *asking) sendTo(i int, req proto.Message, now time.Time) {
	step := &a.plan.steps[i]
	data, err := a.encode(req, step.json)
	if err != nil {
		a.failed(i, &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: err.Error()})
		return
	}
	r := wire.Request{Subject: step.subject, Data: data, JSON: step.json}
	left := a.until.Sub(now)
	if left < step.timeout {
		r.Timeout = max(left, time.Millisecond)
	}
	a.sent[i] = sent{at: now, deadline: now.Add(min(left, step.timeout))}
	if a.sent[i].ticket, err = a.client.line.Send(a, i, r); err != nil {
		a.failed(i, unsent(err))
		return
	}
	a.sent[i].waiting = true
}

// unsent is what it means that the connection did not take a request.
func unsent(err error) *wire.Failure {
	if errors.Is(err, nats.ErrMaxPayload) {
		return &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: "the request is larger than the server's max_payload"}
	}
	return &wire.Failure{Kind: rosterv1.FailureKind_ABSENT, Text: err.Error()}
}

// encode returns the request's bytes, made once for all modules that get the same.
func (a *asking) encode(req proto.Message, json bool) (_ []byte, err error) {
	if a.encoded == (encoded{req, json}) {
		return a.buffer, nil
	}
	if json {
		a.buffer, err = wire.ToJSON(req)
	} else {
		a.buffer, err = proto.MarshalOptions{}.MarshalAppend(a.buffer[:0], req)
	}
	a.encoded = encoded{req, json}
	return a.buffer, err
}

// hear takes in a reply.
func (a *asking) hear(r reply) {
	s, step := &a.sent[r.i], &a.plan.steps[r.i]
	s.waiting = false
	answer, failure := decode(a.plan.callback, r.msg)
	if failure != nil {
		a.failed(r.i, failure)
		return
	}
	step.metrics.answered(time.Since(s.at))
	a.walk.Tell(r.i, combine.Outcome{Answer: answer})
}

// expire fails what has not been heard of by now: and when it is the budget that ran out, all the rest.
func (a *asking) expire(now time.Time) {
	over := !now.Before(a.until)
	for i := range a.sent {
		if over || a.sent[i].waiting && !now.Before(a.sent[i].deadline) {
			a.failed(i, &wire.Failure{Kind: rosterv1.FailureKind_TIMEOUT})
		}
	}
}

func (a *asking) failed(i int, f *wire.Failure) {
	if !a.walk.Waiting(i) {
		return
	}
	step := &a.plan.steps[i]
	o := combine.Outcome{Failure: f.Kind, Policy: a.policy(step)}
	if o.Policy == callbacksv1.OnFailure_REFUSE {
		o.Answer = a.plan.callback.Refused(step.refusal)
	}
	step.metrics.failed(f.Kind, o.Policy)
	a.client.log.Warn().Str("callback", a.plan.callback.FullName()).Str("module", step.module).
		Str("policy", strings.ToLower(o.Policy.String())).Err(f).Msg("module failed")
	a.walk.Tell(i, o)
}

// policy looks at the origin only now, when it matters.
func (a *asking) policy(s *step) callbacksv1.OnFailure {
	if s.onFailure == s.onFailureFederated || !a.federated() {
		return s.onFailure
	}
	return s.onFailureFederated
}

// federated reports whether the request is about an event of another server.
func (a *asking) federated() bool {
	r, ok := a.request.(interface{ GetEvent() *callbacksv1.Event })
	var event struct{ Sender string }
	if !ok || json.Unmarshal(r.GetEvent().GetJson(), &event) != nil {
		return false
	}
	_, server, found := strings.Cut(event.Sender, ":")
	return found && server != a.client.name
}
