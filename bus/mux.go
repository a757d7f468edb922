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

// Send implements [wire.Line].
func (m *mux) Send(to wire.Receiver, i int, r wire.Request) (wire.Ticket, error) {
	t := wire.Ticket(rand.Uint64())
	s := m.shard(t)
	s.mu.Lock()
	s.waiting[t] = waiter{to, i}
	s.mu.Unlock()
	err := m.publish(r, m.reply(t))
	if err != nil {
		m.Forget(t)
	}
	return t, err
}

func (m *mux) publish(r wire.Request, reply string) error {
	if h := r.Header(); h != nil {
		return m.nc.PublishMsg(&nats.Msg{Subject: r.Subject, Reply: reply, Header: h, Data: r.Data})
	}
	return m.nc.PublishRequest(r.Subject, reply, r.Data)
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

func (m *mux) reply(t wire.Ticket) string { return m.prefix + strconv.FormatUint(uint64(t), 36) }

// MaxPayload implements [wire.Line].
func (m *mux) MaxPayload() int { return int(m.nc.MaxPayload()) }

// deliver gives a reply to who waits for it. It holds the shard meanwhile, which is what Forget relies on. Replies that
// nobody waits for are late, doubled or made up.
func (m *mux) deliver(msg *nats.Msg) {
	n, err := strconv.ParseUint(msg.Subject[len(m.prefix):], 36, 64)
	if err != nil {
		return
	}
	t := wire.Ticket(n)
	s := m.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.waiting[t]; ok {
		delete(s.waiting, t)
		w.to.Receive(w.i, msg)
	}
}
