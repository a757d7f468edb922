package natsrequest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/wire"
)

const (
	// maxTogether is how large a question may be that travels with others, in bytes. Beyond: it travels by itself.
	maxTogether = 16 << 10

	// maxBatch is how large a message of several questions may grow, in bytes. Beyond: the next question begins another.
	maxBatch = 64 << 10

	// maxUnread is how many bytes of one module's answers to batches may wait to be read, or are being read. Beyond: they are dropped, and
	// their questions run into their time.
	maxUnread = 16 << 20

	// maxUnreadTogether is how many bytes of all modules' answers to batches may wait to be read, or are being read, beside one message of
	// each. Beyond: those of the module are dropped of which most wait.
	maxUnreadTogether = 64 << 20

	// maxUnsorted is how many bytes of answers to batches may wait to be sorted by module. Sorting is quicker than receiving, so they
	// hardly wait. Beyond: the client library drops them, and their questions run into their time.
	maxUnsorted = 64 << 20

	// aroundAnswers is what a message of answers takes beside them, in bytes, as maxUnread counts it.
	aroundAnswers = 512

	// probeEvery is how often a worker that has answered no batch is tried.
	probeEvery = 5 * time.Second
)

// Batch says how requests for one callback of one worker may travel together. See ADR 64.
type Batch struct {
	Subject string // where the worker is asked
	Answers string // where it answers
	Most    uint32 // how many requests one message may hold; above [batch.Most] it is that
	Route   *Route // to the worker and back

	round uint64 // of the outbox, in which it has a parcel with room
	at    int    // which parcel that is
}

// Alone is what a receiver gets, instead of a reply, for a request that came back: it travelled with others, and nobody has taken
// them. It is to be sent again, without a [Batch].
var Alone = &nats.Msg{}

// Route is what is known of the way to a worker and back. Whether answers to batches come through depends on permissions at both
// ends and on NATS between them, so a batch without questions is sent first. One Route serves all callbacks of a worker. The zero
// value is ready, and its methods may be called concurrently.
type Route struct {
	proven atomic.Bool
	away   atomic.Int32 // requests that may travel together, and were published, and are waited for
	runs   runs

	mu     sync.Mutex
	probed time.Time
}

// Receive implements [Receiver].
func (r *Route) Receive(_ int, reply *nats.Msg) {
	r.proven.Store(reply != Alone && wire.FailureOf(reply) == nil)
}

// Lost implements [Receiver].
func (*Route) Lost() {}

// fell notes that an answer has not come, whatever the reason.
func (r *Route) fell() {
	if r.proven.CompareAndSwap(true, false) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.probed = time.Time{}
	}
}

// crowded reports whether the worker has so many requests that the next one had better wait for an answer: those that wait meanwhile are one
// message. The answer is the clock, so a worker that answers soon makes nothing wait long, and one that has little to do makes nothing wait.
// See ADR 31.
func (r *Route) crowded() bool { return r.away.Load() > waitBehind }

// due reports whether it is time to try, and notes that it was done.
func (r *Route) due(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.probed.IsZero() && now.Sub(r.probed) < probeEvery {
		return false
	}
	r.probed = now
	return true
}

// together reports whether a request may travel with others now. Where that is not known yet, it is tried.
func (m *Mux) together(r Request) bool {
	b := r.Batch
	r.Timeout = 0 // The only thing that a question of a batch may say beside its data.
	switch {
	case b == nil || b.Most < 2 || len(r.Data) > maxTogether || r.Header() != nil:
		return false
	case b.Route.proven.Load():
		return true
	default:
		m.probe(b)
		return false
	}
}

// probe sends a batch without a question. It is forgotten when the next one is due, also where the worker is gone and there is none.
func (m *Mux) probe(b *Batch) {
	if !b.Route.due(time.Now()) {
		return
	}
	t := newTicket()
	if _, err := m.register(t, waiter{to: b.Route, place: unasked, batch: b}); err == nil {
		m.publishBatch(b, t, batch.Begin(nil, uint64(t)))
		time.AfterFunc(probeEvery, func() { m.take(t) })
	}
}

// publishBatch sends a payload with questions that are waited for, as a message of that name. Where that is not possible, each finds out
// by itself.
func (m *Mux) publishBatch(b *Batch, name Ticket, frame []byte) {
	m.boxes.open(b.Answers)
	err := m.nc.PublishMsg(&nats.Msg{
		Subject: b.Subject, Reply: m.batchReply(name), Header: nats.Header{wire.HeaderBatch: {b.Answers}}, Data: frame,
	})
	if err != nil {
		m.returned(name)
	}
}

// readAnswers takes in what a worker answers to batches. An answer counts only where the worker that was asked gives it, and the
// subject says of which module that is.
func (m *Mux) readAnswers(box *mailbox, msg *nats.Msg) {
	all, err := batch.Answers(box.answers, msg.Data)
	if err != nil {
		return // Its questions have no answer.
	}
	box.answers = all
	defer m.out.release()  // Some have waited for these answers.
	defer clear(all)       // They have the message's memory.
	var replies []nats.Msg // in one piece of memory
	for i, a := range all {
		reply := silence
		if a.Failed || len(a.Data) > 0 {
			if replies == nil {
				replies = make([]nats.Msg, len(all)-i)
			}
			reply, replies = &replies[0], replies[1:]
			reply.Data, reply.Header = a.Data, headerOf(a)
		}
		m.giveBatched(Ticket(a.Number), reply, msg.Subject)
	}
}

// silence is the reply of every module that has no opinion. Receivers only read replies, so they share it.
var silence = &nats.Msg{}

// headerOf returns the headers that a failure would have by itself; nil for an answer.
func headerOf(a batch.Answer) nats.Header {
	if !a.Failed {
		return nil
	}
	return nats.Header{wire.HeaderErrorCode: {a.Code}, wire.HeaderError: {a.Text}}
}

// returned has the questions of a batch sent again, those that have no answer, because nobody has taken it. It looks at all requests
// under way, so it is slow.
func (m *Mux) returned(name Ticket) {
	for i := range m.shards {
		for _, t := range m.shards[i].in(name) {
			m.give(t, Alone)
		}
	}
}
