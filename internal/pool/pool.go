// Package pool works on messages as they arrive, a bounded number at a time.
package pool

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// Pool works on what arrives on its channel, limit at a time. What is over that is refused at once: one goroutine more
// than limit is always left to do it, so nothing waits in the channel. Goroutines are started as they are needed, and
// stay.
type Pool struct {
	// Work is where messages arrive; it is meant for the client library's channel subscriptions.
	Work chan *nats.Msg

	limit  int32
	serve  func(*nats.Msg)
	refuse func(*nats.Msg)
	size   atomic.Int32
	busy   atomic.Int32
	owned  sync.WaitGroup
}

// backlog is how many requests may arrive while the goroutine that takes them is not scheduled. The client library
// drops what is over it, and the homeserver's deadline covers that.
const backlog = 8192

// New returns a pool that calls serve for a message, or refuse if limit of them are being served. Stop must be called.
func New(limit int, serve, refuse func(*nats.Msg)) *Pool {
	p := &Pool{Work: make(chan *nats.Msg, backlog), limit: int32(limit), serve: serve, refuse: refuse}
	p.grow()
	return p
}

func (p *Pool) grow() {
	p.size.Add(1)
	p.owned.Go(p.run)
}

// run takes work until it gets nil, which it leaves for the next.
func (p *Pool) run() {
	for m := range p.Work {
		if m == nil {
			p.Work <- nil
			return
		}
		p.take(m)
	}
}

func (p *Pool) take(m *nats.Msg) {
	busy, ok := p.admit()
	if !ok {
		p.refuse(m)
		return
	}
	defer p.busy.Add(-1)
	if busy >= p.size.Load() {
		p.grow() // There is always one that waits for work.
	}
	p.serve(m)
}

// admit takes one of the limit places, and returns how many are taken now. What is being refused takes none.
func (p *Pool) admit() (busy int32, ok bool) {
	for {
		busy = p.busy.Load()
		if busy == p.limit {
			return busy, false
		}
		if p.busy.CompareAndSwap(busy, busy+1) {
			return busy + 1, true
		}
	}
}

// Stop ends each goroutine after all work that has arrived, and no more may arrive. It returns a channel that is closed
// when they have ended.
func (p *Pool) Stop() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Work <- nil
		p.owned.Wait()
	}()
	return ended
}
