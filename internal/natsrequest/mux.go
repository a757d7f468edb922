package natsrequest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// ErrClosed is what [Mux.Send] returns after Close, and the text of what requests under way are answered then.
var ErrClosed = errors.New("the client is closed")

// Mux is the [Requester] over NATS. One subscription receives all replies, and another one those to batches. Each request has a
// ticket of its own, which cannot be guessed, so that no module can answer for another.
type Mux struct {
	nc     *nats.Conn
	prefix string
	subs   []*nats.Subscription
	out    *outbox
	closed atomic.Bool
	boxes  *mailboxes
	shards [16]shard
}

type shard struct {
	mu      sync.Mutex
	waiting map[Ticket]waiter
}

type waiter struct {
	to      Receiver
	place   int
	subject string
	batch   *Batch // how it may have travelled; nil for by itself
	run     *run   // of the message that it is in; nil where that has a name of its own
}

// in returns the requests that are waited for and travel in the message of a name.
func (s *shard) in(name Ticket) (all []Ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t, w := range s.waiting {
		if w.batch != nil && w.name(t)&^(batch.Most-1) == name {
			all = append(all, t)
		}
	}
	return all
}

// name is the ticket that the reply subject of a request is made of, which has that ticket itself. Where it travels with others, it is
// one of the message's, so that NATS knows no more reply subjects than it has to.
func (w waiter) name(t Ticket) Ticket {
	if w.run != nil && w.run.count.Load() > 1 {
		return w.run.name + t%batch.Most
	}
	return t
}

// end ends the wait for a reply.
func (s *shard) end(t Ticket, w waiter) {
	delete(s.waiting, t)
	if w.run != nil {
		w.batch.Route.away.Add(-1)
	}
}

// unasked is the place of a batch without a question: see [Mux.probe].
const unasked = -1

// New returns a mux on a connection, which stays the caller's. Answers is the pattern of the subjects at which batches are
// answered. Close must be called.
func New(nc *nats.Conn, answers string) (*Mux, error) {
	m := &Mux{nc: nc, prefix: nc.NewInbox() + "."}
	m.out = newOutbox(m.register, m.publish)
	m.boxes = newMailboxes(m.readAnswers, m.awaited)
	for i := range m.shards {
		m.shards[i].waiting = map[Ticket]waiter{}
	}
	// Memory for replies is bounded by the requests under way, each of which has one at most. Answers to batches come unasked, too;
	// they wait in the subscription only until they are sorted by module.
	err := errors.Join(m.subscribe(m.prefix+"*", -1, m.receive), m.subscribe(answers, maxUnsorted, m.boxes.put))
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		m.unsubscribe()
		return nil, fmt.Errorf("cannot listen for replies: %w", err)
	}
	return m, nil
}

func (m *Mux) subscribe(subject string, most int, receive nats.MsgHandler) error {
	sub, err := m.nc.Subscribe(subject, receive)
	if err != nil {
		return err
	}
	m.subs = append(m.subs, sub)
	return sub.SetPendingLimits(-1, most)
}

func (m *Mux) unsubscribe() {
	for _, sub := range m.subs {
		_ = sub.Unsubscribe() // It fails only when the connection is closed.
	}
}

// Close fails the requests under way with [ErrClosed], and waits until the one that is being written is.
func (m *Mux) Close() {
	m.closed.Store(true)
	m.unsubscribe()
	m.out.close()
	m.FailAll(ErrClosed)
	m.boxes.close()
}

// FailAll gives every request under way the reply of one that was not sent, for that reason.
func (m *Mux) FailAll(reason error) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for t, w := range s.waiting {
			s.end(t, w)
			w.to.Receive(w.place, wire.Unsent(reason))
		}
		s.mu.Unlock()
	}
}

// Lost implements [Requester]. It looks at all requests under way, so it is slow.
func (m *Mux) Lost(subject string) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for _, w := range s.waiting {
			if w.subject == subject {
				w.to.Lost()
			}
		}
		s.mu.Unlock()
	}
}

// Waiting is how many replies are waited for.
func (m *Mux) Waiting() (n int) {
	for i := range m.shards {
		m.shards[i].mu.Lock()
		for _, w := range m.shards[i].waiting {
			if w.place != unasked {
				n++
			}
		}
		m.shards[i].mu.Unlock()
	}
	return n
}

// awaited are the subjects at which batches may be answered now.
func (m *Mux) awaited() map[string]bool {
	subjects := map[string]bool{}
	for i := range m.shards {
		m.shards[i].mu.Lock()
		for _, w := range m.shards[i].waiting {
			if w.batch != nil {
				subjects[w.batch.Answers] = true
			}
		}
		m.shards[i].mu.Unlock()
	}
	return subjects
}

func (m *Mux) shard(t Ticket) *shard { return &m.shards[t%Ticket(len(m.shards))] }

// newTicket returns a ticket behind which there is room for those of a batch.
func newTicket() Ticket { return Ticket(rand.Uint64()) &^ (batch.Most - 1) }

// Send implements [Requester]. A request that turns out not to be sent is answered as NATS does when nobody is there.
func (m *Mux) Send(to Receiver, place int, r Request) (Ticket, error) {
	if !m.together(r) {
		r.Batch = nil
	}
	r.Held = r.Held && len(r.Data) <= maxTogether // To hold it is to copy it.
	return m.out.send(r, waiter{to: to, place: place, subject: r.Subject, batch: r.Batch})
}

// Flush implements [Requester].
func (m *Mux) Flush() { m.out.release() }

// register begins the wait for a reply.
func (m *Mux) register(t Ticket, w waiter) (crowd bool, err error) {
	s := m.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.closed.Load() { // Looked at under the lock, so that FailAll misses none.
		return false, ErrClosed
	}
	s.waiting[t] = w
	return len(s.waiting) > 1, nil // Of one shard. Those that travel by themselves, and the first of each batch, are all in the same.
}

func (m *Mux) publish(p parcel) {
	switch {
	case p.count == 1:
		m.publishRequest(p.ticket, p.request)
	case p.count > 1:
		m.publishBatch(p.request.Batch, p.name(), p.frame)
	}
}

func (m *Mux) publishRequest(t Ticket, r Request) {
	var err error
	if h := r.Header(); h != nil {
		err = m.nc.PublishMsg(&nats.Msg{Subject: r.Subject, Reply: m.reply(t), Header: h, Data: r.Data})
	} else {
		err = m.nc.PublishRequest(r.Subject, m.reply(t), r.Data)
	}
	if err != nil {
		m.give(t, m.unsent(err, len(r.Data)))
	}
}

// unsent is the reply to a request that was not sent.
func (m *Mux) unsent(err error, size int) *nats.Msg {
	if !errors.Is(err, nats.ErrMaxPayload) {
		return wire.Unsent(err)
	}
	text := fmt.Sprintf("the question of %d bytes is larger than max_payload of NATS, %d bytes: raise it, or have the module need less state",
		size, m.MaxPayload())
	return &nats.Msg{Header: (&wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: text}).Header()}
}

// Forget implements [Requester].
func (m *Mux) Forget(t Ticket) {
	if w, ok := m.take(t); ok && w.batch != nil {
		w.batch.Route.fell()
	}
}

// take ends the wait for a reply.
func (m *Mux) take(t Ticket) (w waiter, ok bool) {
	s := m.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok = s.waiting[t]
	s.end(t, w)
	return w, ok
}

// Cancel implements [Requester]. Where there is no wait any more, the module has answered, and the name may be another question's soon. A
// question that is not sent yet is sent first: the module learns its name with it, and a cancel that came before it would be lost.
func (m *Mux) Cancel(t Ticket, subject string) {
	w, waits := m.take(t)
	if !waits {
		return
	}
	if w.run != nil && w.run.count.Load() == 0 {
		m.out.release()
	}
	_ = m.nc.Publish(subject, []byte(m.reply(w.name(t)))) // The deadline covers what is lost.
}

// reply is the reply subject of a request with a name. In a batch, nobody replies there, but the request is cancelled by it.
func (m *Mux) reply(name Ticket) string {
	var space [64]byte
	return string(batch.AppendName(m.appendReply(space[:0], name), int(name%batch.Most)))
}

// batchReply is where a batch is answered as a whole.
func (m *Mux) batchReply(name Ticket) string {
	var space [64]byte
	return string(m.appendReply(space[:0], name))
}

func (m *Mux) appendReply(dst []byte, name Ticket) []byte {
	return strconv.AppendUint(append(dst, m.prefix...), uint64(name/batch.Most), 36)
}

// MaxPayload implements [Requester].
func (m *Mux) MaxPayload() int { return int(m.nc.MaxPayload()) }

// receive drops replies for which there is no request under way: those that are late, duplicated or forged.
func (m *Mux) receive(msg *nats.Msg) {
	token, name, single := strings.Cut(msg.Subject[len(m.prefix):], batch.NameMark)
	of, err := strconv.ParseUint(token, 36, 64)
	if err != nil || of > math.MaxUint64/batch.Most {
		return
	}
	first := Ticket(of) * batch.Most
	if !single {
		m.returned(first)
		return
	}
	if i, err := strconv.ParseUint(name, 10, 8); err == nil {
		m.give(first+Ticket(i), msg)
	}
}

// give holds the shard while the receiver is called, which is what Forget relies on.
func (m *Mux) give(t Ticket, msg *nats.Msg) { m.giveBatched(t, msg, "") }

// giveBatched is give for an answer that came on a subject of [Batch.Answers]; on any other where that is empty. It is dropped where
// another module was asked.
func (m *Mux) giveBatched(t Ticket, msg *nats.Msg, answers string) {
	s := m.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.waiting[t]
	if !ok || answers != "" && (w.batch == nil || w.batch.Answers != answers) {
		return
	}
	s.end(t, w)
	if w.run != nil && msg != Alone && w.run.complete() {
		w.batch.Route.runs.giveBack(w.run)
	}
	w.to.Receive(w.place, msg)
}
