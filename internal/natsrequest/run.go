package natsrequest

import (
	"sync"
	"sync/atomic"
)

// run is the way of one message with several requests: its name, and how many of them are answered. The name is used again; the tickets
// of the requests never are, so an answer that comes late, or twice, is nobody's.
type run struct {
	name     Ticket
	count    atomic.Int32 // requests
	answered atomic.Int32
}

// complete notes an answer, and reports whether every request of the run has one.
func (r *run) complete() bool { return r.answered.Add(1) == r.count.Load() }

// rest is how many runs of a worker are complete before the first of them is used again. A worker may still know a question by its name
// when it has just answered, and would take another question of that name for the same.
const rest = 1024

// runs are those of which each request was answered, to be used again for the same worker. NATS remembers the reply subject of a message for
// a day, where its receiver may answer there once and does not; and a batch is answered elsewhere. With the same subjects again and again
// that takes no more memory. See ADR 115. The zero value is ready, and its methods may be called concurrently.
type runs struct {
	mu   sync.Mutex
	idle []*run // the first was complete first
	next int    // of idle; those before it are nil
}

// take returns a run that has rested, or a new one.
func (r *runs) take() *run {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.idle)-r.next <= rest {
		return &run{name: newTicket()}
	}
	taken := r.idle[r.next]
	r.idle[r.next] = nil
	r.next++
	taken.count.Store(0)
	taken.answered.Store(0)
	return taken
}

// giveBack takes a run that is complete.
func (r *runs) giveBack(complete *run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next > rest {
		r.idle = r.idle[:copy(r.idle, r.idle[r.next:])]
		r.next = 0
	}
	r.idle = append(r.idle, complete)
}
