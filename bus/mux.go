package bus

import (
	"math/rand/v2"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/wire"
)

// mux is the [wire.Line] over NATS. One subscription takes all replies. Each request has a reply subject of its own,
// which nobody can guess, so that no module can speak for another.
type mux struct {
	nc     *nats.Conn
	prefix string
	sub    *nats.Subscription
	out    outbox
	shards [16]shard
}

type shard struct {
	mu      sync.Mutex
	waiting map[wire.Ticket]waiter
}

type waiter struct {
	to wire.Receiver
	i  int
}

func newMux(nc *nats.Conn) (*mux, error) {
	m := &mux{nc: nc, prefix: nc.NewInbox() + "."}
	m.out.publish = m.publish
	for i := range m.shards {
		m.shards[i].waiting = map[wire.Ticket]waiter{}
	}
	var err error
	if m.sub, err = nc.Subscribe(m.prefix+"*", m.deliver); err != nil {
		return nil, err
	}
	// Memory is bounded by the requests under way, each of which has one reply at most.
	if err := m.sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	return m, nc.Flush()
}

func (m *mux) close() { _ = m.sub.Unsubscribe() } // It fails only when the connection is closed.

func (m *mux) shard(t wire.Ticket) *shard { return &m.shards[t%wire.Ticket(len(m.shards))] }

// Send implements [wire.Line]. A request that turns out not to be sent is answered as NATS does when nobody is there.
func (m *mux) Send(to wire.Receiver, i int, r wire.Request) (wire.Ticket, error) {
	t := wire.Ticket(rand.Uint64())
	s := m.shard(t)
	s.mu.Lock()
	s.waiting[t] = waiter{to, i}
	crowd := len(s.waiting) > 1 // A sixteenth of all who wait.
	s.mu.Unlock()
	m.out.send(t, r, crowd)
	return t, nil
}

func (m *mux) publish(t wire.Ticket, r wire.Request) {
	var err error
	if h := r.Header(); h != nil {
		err = m.nc.PublishMsg(&nats.Msg{Subject: r.Subject, Reply: m.reply(t), Header: h, Data: r.Data})
	} else {
		err = m.nc.PublishRequest(r.Subject, m.reply(t), r.Data)
	}
	if err != nil {
		m.give(t, wire.Unsent(err))
	}
}

// Forget implements [wire.Line].
func (m *mux) Forget(t wire.Ticket) {
	s := m.shard(t)
	s.mu.Lock()
	delete(s.waiting, t)
	s.mu.Unlock()
}

// Cancel implements [wire.Line].
func (m *mux) Cancel(t wire.Ticket, subject string) {
	m.Forget(t)
	_ = m.nc.Publish(subject, []byte(m.reply(t))) // The deadline covers what is lost.
}

func (m *mux) reply(t wire.Ticket) string {
	var space [64]byte
	return string(strconv.AppendUint(append(space[:0], m.prefix...), uint64(t), 36))
}

// MaxPayload implements [wire.Line].
func (m *mux) MaxPayload() int { return int(m.nc.MaxPayload()) }

// deliver gives a reply to who waits for it. Replies that nobody waits for are late, doubled or made up.
func (m *mux) deliver(msg *nats.Msg) {
	if n, err := strconv.ParseUint(msg.Subject[len(m.prefix):], 36, 64); err == nil {
		m.give(wire.Ticket(n), msg)
	}
}

// give holds the shard while the reply is received, which is what Forget relies on.
func (m *mux) give(t wire.Ticket, msg *nats.Msg) {
	s := m.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.waiting[t]; ok {
		delete(s.waiting, t)
		w.to.Receive(w.i, msg)
	}
}
