package responder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	wirebatch "github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// Answer is the reply to a request. The zero Answer is an empty reply.
type Answer struct {
	Header nats.Header
	Data   []byte
}

// Trouble is why a request gets another answer than its own.
type Trouble struct {
	Cause Cause
	Text  string // for the requester; it repeats nothing of the request
}

// Cause is a kind of [Trouble].
type Cause int

// The kinds of trouble.
const (
	Busy     Cause = iota // as many requests as may be are being served
	Panicked              // serving the request panicked
	TooLarge              // the answer is larger than the server's max_payload
)

// Options say what a responder does.
type Options struct {
	// Limit is how many requests are served at once. What is beyond it is answered with a [Busy] trouble.
	Limit int

	// Requester names who sent a request, for Own. It must not be what a requester can choose: those whose names nobody knows get one name
	// together, because each name has places.
	Requester func(*nats.Msg) string

	// Own is how many requests of each requester are served beyond Limit, so that no requester takes the places of others. Default: none.
	Own int

	// Serve answers a request. It is called concurrently. A panic is logged, and answered with a [Panicked] trouble.
	Serve func(*nats.Msg) Answer

	// Spell returns the answer that reports a trouble.
	Spell func(Trouble) Answer

	// Answers reports whether the requests of a message that carries several, and came on a subject, may be answered at another
	// one, to which no reply subject gives the permission. Default: a message is one request. See ADR 64.
	Answers func(answers string) bool

	// Context is what requests' contexts are derived from. Default: [context.Background].
	Context context.Context //nolint:containedctx // It is handed on.

	// Log gets panics, and what could not be answered.
	Log *zerolog.Logger
}

// Responder answers requests. Its methods may be called concurrently. Drain, or Stop, must be called.
type Responder struct {
	nc       *nats.Conn
	options  Options
	pool     *pool
	inFlight inFlight
	answers  *answers
	jobs     sync.Map // *nats.Msg → job, of those that Do put among the requests

	stop func() <-chan struct{} // stops the pool, once

	mu      sync.Mutex
	subs    map[string]*nats.Subscription // by subject
	cancels map[string]*nats.Subscription // likewise
}

// New returns a responder that listens on nothing yet.
func New(nc *nats.Conn, o Options) *Responder {
	if o.Context == nil {
		o.Context = context.Background()
	}
	r := &Responder{nc: nc, options: o}
	r.answers = newAnswers(r.publishAnswers)
	p := newPool(o.Limit, r.serve, r.reply, r.busy, r.unpack)
	if o.Own > 0 {
		p.shares = &shares{of: o.Requester, each: int32(o.Own), taken: map[string]int32{}}
	}
	return r.over(p)
}

// Taking returns a responder that passes requests to take, limit at a time, and those beyond the limit to refuse. It
// sends no replies: take and refuse do that, in their own way.
func Taking(nc *nats.Conn, limit int, take, refuse func(*nats.Msg)) *Responder {
	silent := func(m *nats.Msg) Answer { take(m); return Answer{} }
	r := &Responder{nc: nc}
	return r.over(newPool(limit, silent, func(request, Answer) {}, func(q request) { refuse(q.Msg) }, r.unpack))
}

func (r *Responder) over(p *pool) *Responder {
	r.pool, r.subs, r.cancels = p, map[string]*nats.Subscription{}, map[string]*nats.Subscription{}
	r.stop = sync.OnceValue(r.end)
	return r
}

// Subscribe listens on a subject, in a queue group if queue is not empty. It does nothing if it listens there already. The
// server knows of it when the connection is flushed.
func (r *Responder) Subscribe(subject, queue string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.subs[subject] != nil {
		return nil
	}
	sub, err := r.listen(subject, queue)
	if err != nil {
		return fmt.Errorf("cannot subscribe %s: %w", subject, err)
	}
	r.subs[subject] = sub
	return nil
}

// listen subscribes a subject of requests.
func (r *Responder) listen(subject, queue string) (*nats.Subscription, error) {
	return r.nc.ChanQueueSubscribe(subject, queue, r.pool.work)
}

// listenForCancels subscribes a subject of cancels. All workers hear them, so there is no queue.
func (r *Responder) listenForCancels(subject, _ string) (*nats.Subscription, error) {
	return r.nc.Subscribe(subject, func(m *nats.Msg) { r.inFlight.cancel(string(m.Data)) })
}

// Renew makes the subscription to a subject anew, and reports whether there was one. NATS forgets what it has refused, and the client library
// subscribes once.
func (r *Responder) Renew(subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	subs, listen := r.subs, r.listen
	if r.cancels[subject] != nil {
		subs, listen = r.cancels, r.listenForCancels
	}
	old := subs[subject]
	if old == nil {
		return false
	}
	_ = old.Drain() // It fails only when the connection is closed, and then so does the next line.
	sub, err := listen(subject, old.Queue)
	if err == nil {
		subs[subject] = sub
	}
	return err == nil
}

// Retain drains all subscriptions but those to the subjects. What NATS has handed over already is still served.
func (r *Responder) Retain(subjects ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for subject, sub := range r.subs {
		if !slices.Contains(subjects, subject) {
			_ = sub.Drain() // It fails only when the connection is closed.
			delete(r.subs, subject)
		}
	}
}

// Cancels listens on a subject for the names of requests whose replies are no longer wanted. See [Responder.Begin].
func (r *Responder) Cancels(subject string) error {
	sub, err := r.listenForCancels(subject, "")
	if err != nil {
		return fmt.Errorf("cannot subscribe %s: %w", subject, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancels[subject] = sub
	return nil
}

// Begin returns the context of a request, which ends after timeout, unless that is 0; when the request is cancelled by its
// name, unless that is empty; and with End, which must be called.
func (r *Responder) Begin(name string, timeout time.Duration) *Request {
	q := &Request{parent: r.options.Context, name: name, inFlight: &r.inFlight}
	if timeout != 0 {
		q.deadline = time.Now().Add(timeout)
	}
	if name != "" {
		r.inFlight.add(q)
	}
	return q
}

// job is what [Responder.Do] does.
type job struct{ do, refused func() }

// Do does something as if a request had asked for it: it counts against the limit, and Stop waits for it. Beyond the limit
// it calls refused instead, which must not block. It returns at once. After Stop it does nothing.
func (r *Responder) Do(do, refused func()) {
	m := &nats.Msg{} // of no subscription, which no request is
	r.jobs.Store(m, job{do, refused})
	select {
	case r.pool.work <- m:
	default: // As full as can be.
		r.jobs.Delete(m)
		refused()
	}
}

// job returns what m stands for, if Do made it.
func (r *Responder) job(m *nats.Msg) (job, bool) {
	if m.Sub != nil {
		return job{}, false
	}
	j, ok := r.jobs.LoadAndDelete(m)
	if !ok {
		return job{}, false
	}
	return j.(job), true
}

// Stop ends the responder after the requests that have arrived, and no more may arrive: all subscriptions were drained and
// the connection flushed. It returns a channel that is closed when it has ended. It may be called more than once.
func (r *Responder) Stop() <-chan struct{} { return r.stop() }

func (r *Responder) end() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.pool.stop()
		if r.answers != nil {
			r.answers.wait()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, sub := range r.cancels {
			_ = sub.Unsubscribe() // It fails only when the connection is closed.
		}
	}()
	return done
}

// Drain takes no more requests, and returns the channel that [Responder.Stop] does. What NATS handed over before it knew
// is still served, because no other worker gets it. Drain waits at most patience for NATS.
func (r *Responder) Drain(patience time.Duration) (ended <-chan struct{}) {
	r.Retain()
	r.flush(patience)
	return r.Stop()
}

// flush waits until NATS has everything that was sent, and has delivered everything for this responder. It returns at once
// without a connection.
func (r *Responder) flush(patience time.Duration) {
	if r.nc.IsConnected() {
		_ = r.nc.FlushTimeout(patience) // What was lost is covered by the requesters' deadlines.
	}
}

func (r *Responder) serve(m *nats.Msg) Answer {
	a, err := r.guarded(m)
	if err != nil {
		return r.options.Spell(Trouble{Panicked, "internal error; see the log"})
	}
	return a
}

func (r *Responder) guarded(m *nats.Msg) (_ Answer, err error) {
	defer Recover(&err, r.options.Log, "request", "", nil)
	if j, ok := r.job(m); ok {
		j.do()
		return Answer{}, nil
	}
	return r.options.Serve(m), nil
}

func (r *Responder) busy(q request) {
	if j, ok := r.job(q.Msg); ok {
		j.refused()
		return
	}
	r.reply(q, r.options.Spell(Trouble{Busy, fmt.Sprintf("%d requests are under way", r.options.Limit)}))
}

func (r *Responder) reply(q request, a Answer) {
	if q.of != nil {
		r.replyTogether(q, a)
		return
	}
	r.replyAlone(q.Msg, a)
}

func (r *Responder) replyAlone(m *nats.Msg, a Answer) {
	if m.Reply == "" {
		return
	}
	if !subjects.MayReply(m.Subject, m.Reply) {
		r.options.Log.Warn().Str("subject", m.Subject).Msg("gave no answer to who wants it sent to somebody else")
		return
	}
	err := r.publish(m.Reply, a)
	if errors.Is(err, nats.ErrMaxPayload) {
		err = r.publish(m.Reply, r.tooLarge(m, a))
	}
	if err != nil {
		r.options.Log.Warn().Err(err).Int("bytes", len(a.Data)).Msg("cannot answer")
	}
}

// tooLarge is what stands for an answer that does not fit a message.
func (r *Responder) tooLarge(m *nats.Msg, a Answer) Answer {
	text := fmt.Sprintf("the answer of %d bytes is larger than the server's max_payload", len(a.Data))
	r.options.Log.Warn().Str("subject", m.Subject).Msg(text)
	return r.options.Spell(Trouble{TooLarge, text})
}

func (r *Responder) publish(subject string, a Answer) error {
	if len(a.Header) == 0 {
		return r.nc.Publish(subject, a.Data)
	}
	return r.nc.PublishMsg(&nats.Msg{Subject: subject, Header: a.Header, Data: a.Data})
}

// unpack returns the requests of a message that carries several; nil where it is one. What cannot be answered is given back whole, and
// comes again in messages of their own.
func (r *Responder) unpack(m *nats.Msg) *batch {
	if r.options.Answers == nil || len(m.Header) == 0 {
		return nil
	}
	answers := wire.Header(m, wire.HeaderBatch)
	if answers == "" {
		return nil
	}
	b := batches.Get().(*batch)
	b.holders.Store(1)
	first, questions, err := wirebatch.Questions(b.questions, m.Data)
	if err != nil || !r.options.Answers(answers) || !subjects.MayReply(m.Subject, m.Reply) {
		r.replyAlone(m, r.options.Spell(Trouble{Busy, "a batch that cannot be answered"}))
		return b
	}
	if len(questions) == 0 { // Somebody finds out whether answers come through.
		r.answers.add(answers, wirebatch.Answer{Number: first}, maxAnswers)
	}
	b.answers, b.first, b.most, b.questions = answers, first, int(r.nc.MaxPayload()), questions
	b.spread(m)
	return b
}

// replyTogether answers a request of a batch, with others that are answered at about the same time.
func (r *Responder) replyTogether(q request, a Answer) {
	const around = 64 // More than what is written around an answer.
	most := q.of.most
	if len(a.Data)+around > most {
		a = r.tooLarge(q.Msg, a)
	}
	answer := wirebatch.Answer{Number: q.of.first + uint64(q.place), Data: a.Data}
	if code, text := a.Header.Get(wire.HeaderErrorCode), a.Header.Get(wire.HeaderError); code != "" || text != "" {
		answer = wirebatch.Answer{Number: answer.Number, Failed: true, Code: code, Text: text}
	}
	r.answers.add(q.of.answers, answer, min(most-around, maxAnswers))
}

func (r *Responder) publishAnswers(to string, frame []byte) {
	if err := r.nc.Publish(to, frame); err != nil {
		r.options.Log.Warn().Err(err).Int("bytes", len(frame)).Msg("cannot answer")
	}
}
