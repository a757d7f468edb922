// Package pool works on messages as they arrive, a bounded number at a time.
package pool

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// Pool works on what arrives on its channel, limit at a time. What is over that is refused at once: a goroutine is
// always left to do it, so nothing waits in the channel for another message to be served.
//
// A goroutine that has served a message takes the next one if it is there already. So quick work is done by few
// goroutines, one message after the other, and the client library sends their replies together; a system call for each
// of them would be most of their cost. Goroutines are started as messages take long, and end when few do.
type Pool struct {
	// Work is where messages arrive; it is meant for the client library's channel subscriptions.
	Work chan *nats.Msg

	limit   int32
	serve   func(*nats.Msg) (nats.Header, []byte)
	reply   func(*nats.Msg, nats.Header, []byte)
	refuse  func(*nats.Msg)
	waiting atomic.Int32 // goroutines that wait for a message: one at least, or one is being started
	busy    atomic.Int32
	owned   sync.WaitGroup
}

const (
	// backlog is how many requests may arrive while the goroutine that takes them is not scheduled. The client library
	// drops what is over it, and the homeserver's deadline covers that.
	backlog = 8192

	// spare is how many goroutines wait for a message. With one, each message would start another.
	spare = 2
)

// New returns a pool that calls serve for a message, or refuse if limit of them are being served. Stop must be called.
func New(limit int, serve, refuse func(*nats.Msg)) *Pool {
	silent := func(m *nats.Msg) (nats.Header, []byte) { serve(m); return nil, nil }
	return Answering(limit, silent, func(*nats.Msg, nats.Header, []byte) {}, refuse)
}

// Answering returns a pool as New does, which passes what serve returns to reply. The message is not being served any
// more then: who gets the last reply may send the next message at once, and it is not refused.
func Answering(
	limit int, serve func(*nats.Msg) (nats.Header, []byte), reply func(*nats.Msg, nats.Header, []byte), refuse func(*nats.Msg),
) *Pool {
	p := &Pool{Work: make(chan *nats.Msg, backlog), limit: int32(limit), serve: serve, reply: reply, refuse: refuse}
	p.grow()
	return p
}

func (p *Pool) grow() {
	p.waiting.Add(1)
	p.owned.Go(p.run)
}

// run waits for work, one of those that do, until there are enough others or it gets nil, which it leaves for the next.
func (p *Pool) run() {
	for {
		m := <-p.Work
		if m == nil {
			p.Work <- nil
			return
		}
		if p.waiting.Add(-1) == 0 {
			p.grow()
		}
		for ; m != nil; m = p.next() {
			p.take(m)
		}
		if !p.wait() {
			return
		}
	}
}

// next returns a message that has already arrived, or nil.
func (p *Pool) next() *nats.Msg {
	select {
	case m := <-p.Work:
		if m == nil {
			p.Work <- nil
		}
		return m
	default:
		return nil
	}
}

// wait reports whether the goroutine is to wait for a message, and counts it then.
func (p *Pool) wait() bool {
	for {
		n := p.waiting.Load()
		if n >= spare {
			return false
		}
		if p.waiting.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *Pool) take(m *nats.Msg) {
	if !p.admit() {
		p.refuse(m)
		return
	}
	header, data := p.answer(m)
	p.reply(m, header, data)
}

func (p *Pool) answer(m *nats.Msg) (nats.Header, []byte) {
	defer p.busy.Add(-1)
	return p.serve(m)
}

// admit takes one of the limit places, if one is free. What is being refused takes none.
func (p *Pool) admit() bool {
	for {
		busy := p.busy.Load()
		if busy == p.limit {
			return false
		}
		if p.busy.CompareAndSwap(busy, busy+1) {
			return true
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
