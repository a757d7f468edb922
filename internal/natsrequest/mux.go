package natsrequest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// ErrClosed is what [Mux.Send] returns after Close, and the text of what requests under way are answered then.
var ErrClosed = errors.New("the client is closed")

// Mux is the [Requester] over NATS. One subscription receives all replies. Each request has a reply subject of its own,
// which cannot be guessed, so that no module can answer for another.
type Mux struct {
	nc     *nats.Conn
	prefix string
	sub    *nats.Subscription
	out    *outbox
	closed atomic.Bool
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
}

// New returns a mux on a connection, which stays the caller's. Close must be called.
func New(nc *nats.Conn) (*Mux, error) {
	m := &Mux{nc: nc, prefix: nc.NewInbox() + "."}
	m.out = newOutbox(m.publish)
	for i := range m.shards {
		m.shards[i].waiting = map[Ticket]waiter{}
	}
	if err := m.subscribe(); err != nil {
		return nil, fmt.Errorf("cannot listen for replies: %w", err)
	}
	return m, nil
}

func (m *Mux) subscribe() (err error) {
	if m.sub, err = m.nc.Subscribe(m.prefix+"*", m.receive); err != nil {
		return err
	}
	// Memory is bounded by the requests under way, each of which has one reply at most.
	if err := m.sub.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	return m.nc.Flush()
}

// Close fails the requests under way with [ErrClosed], and waits until the one that is being written is.
func (m *Mux) Close() {
	m.closed.Store(true)
	_ = m.sub.Unsubscribe() // It fails only when the connection is closed.
	m.out.close()
	m.FailAll(ErrClosed)
}

// FailAll gives every request under way the reply of one that was not sent, for that reason.
func (m *Mux) FailAll(reason error) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for t, w := range s.waiting {
			delete(s.waiting, t)
			w.to.Receive(w.place, wire.Unsent(reason))
		}
		s.mu.Unlock()
	}
}

// Lost implements [Requester]. It looks at all requests under way, which is a thing to do seldom.
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
		n += len(m.shards[i].waiting)
		m.shards[i].mu.Unlock()
	}
	return n
}

func (m *Mux) shard(t Ticket) *shard { return &m.shards[t%Ticket(len(m.shards))] }

// Send implements [Requester]. A request that turns out not to be sent is answered as NATS does when nobody is there.
func (m *Mux) Send(to Receiver, place int, r Request) (Ticket, error) {
	t := Ticket(rand.Uint64())
	s := m.shard(t)
	s.mu.Lock()
	if m.closed.Load() { // Looked at under the lock, so that FailAll misses none.
		s.mu.Unlock()
		return 0, ErrClosed
	}
	s.waiting[t] = waiter{to, place, r.Subject}
	crowd := len(s.waiting) > 1 // A sixteenth of all who wait.
	s.mu.Unlock()
	m.out.send(t, r, crowd)
	return t, nil
}

func (m *Mux) publish(t Ticket, r Request) {
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
	s := m.shard(t)
	s.mu.Lock()
	delete(s.waiting, t)
	s.mu.Unlock()
}

// Cancel implements [Requester].
func (m *Mux) Cancel(t Ticket, subject string) {
	m.Forget(t)
	_ = m.nc.Publish(subject, []byte(m.reply(t))) // The deadline covers what is lost.
}

func (m *Mux) reply(t Ticket) string {
	var space [64]byte
	return string(strconv.AppendUint(append(space[:0], m.prefix...), uint64(t), 36))
}

// MaxPayload implements [Requester].
func (m *Mux) MaxPayload() int { return int(m.nc.MaxPayload()) }

// receive drops replies for which there is no request under way: those that are late, duplicated or forged.
func (m *Mux) receive(msg *nats.Msg) {
	if n, err := strconv.ParseUint(msg.Subject[len(m.prefix):], 36, 64); err == nil {
		m.give(Ticket(n), msg)
	}
}

// give holds the shard while the receiver is called, which is what Forget relies on.
func (m *Mux) give(t Ticket, msg *nats.Msg) {
	s := m.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.waiting[t]; ok {
		delete(s.waiting, t)
		w.to.Receive(w.place, msg)
	}
}
