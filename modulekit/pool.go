package modulekit

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// pool runs what arrives on a channel, limit at a time. What is over that is refused at once: one goroutine more than
// limit is always left to do it, so nothing waits in the channel. Goroutines are started as they are needed, and stay.
type pool struct {
	work   chan *nats.Msg
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

func newPool(limit int, serve, refuse func(*nats.Msg)) *pool {
	p := &pool{work: make(chan *nats.Msg, backlog), limit: int32(limit), serve: serve, refuse: refuse}
	p.grow()
	return p
}

func (p *pool) grow() {
	p.size.Add(1)
	p.owned.Go(p.run)
}

// run takes work until it gets nil, which it leaves for the next.
func (p *pool) run() {
	for m := range p.work {
		if m == nil {
			p.work <- nil
			return
		}
		p.take(m)
	}
}

func (p *pool) take(m *nats.Msg) {
	busy := p.busy.Add(1)
	defer p.busy.Add(-1)
	if busy > p.limit {
		p.refuse(m)
		return
	}
	if busy >= p.size.Load() {
		p.grow() // There is always one that waits for work.
	}
	p.serve(m)
}

// stop ends each goroutine after all work that has arrived, and no more may arrive. It returns a channel that is closed
// when they have ended.
func (p *pool) stop() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.work <- nil
		p.owned.Wait()
	}()
	return ended
}
