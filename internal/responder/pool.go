package responder

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// pool works on what arrives on its channel, limit at a time. What is beyond the limit is refused at once: a goroutine is
// always left to do it, so nothing waits in the channel for another message to be served.
//
// A goroutine that has served a message takes the next one if it is there already. So quick work is done by few
// goroutines, one message after the other, and the client library sends their replies together; a system call for each
// of them would be most of their cost. Goroutines are started as messages take long, and end when few do.
type pool struct {
	work chan *nats.Msg // where the client library's channel subscriptions put messages

	limit   int32
	shares  *shares // nil: one requester may take all places
	serve   func(*nats.Msg) Answer
	reply   func(request, Answer)
	refuse  func(request)
	unpack  func(*nats.Msg) *batch // nil where a message is one request
	waiting atomic.Int32           // goroutines that wait for a message: one at least, or one is being started
	busy    atomic.Int32
	owned   sync.WaitGroup
}

const (
	// backlog is how many requests may arrive while the goroutine that takes them is not scheduled. The client library
	// drops what is beyond it, and the requester's deadline covers that.
	backlog = 8192

	// spare is how many goroutines wait for a message. With one, each message would start another.
	spare = 2
)

// newPool returns a pool that calls serve for a message and passes what it returns to reply, or calls refuse if limit
// messages are being served. The slot is released before reply is called, so a requester that reacts to a reply
// immediately is not refused. stop must be called.
func newPool(limit int, serve func(*nats.Msg) Answer, reply func(request, Answer), refuse func(request), unpack func(*nats.Msg) *batch) *pool {
	p := &pool{work: make(chan *nats.Msg, backlog), limit: int32(limit), serve: serve, reply: reply, refuse: refuse, unpack: unpack}
	p.grow()
	return p
}

func (p *pool) grow() {
	p.waiting.Add(1)
	p.owned.Go(p.run)
}

// run serves messages until it is surplus, or until it reads the nil that stop sent, which it puts back for the next
// goroutine.
func (p *pool) run() {
	for {
		m := <-p.work
		if m == nil {
			p.work <- nil
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
func (p *pool) next() *nats.Msg {
	select {
	case m := <-p.work:
		if m == nil {
			p.work <- nil
		}
		return m
	default:
		return nil
	}
}

// wait reports whether the goroutine is to wait for a message, and counts it then.
func (p *pool) wait() bool {
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

func (p *pool) take(m *nats.Msg) {
	if FromStream(m) {
		return
	}
	if b := p.unpack(m); b != nil {
		p.takeAll(b)
	} else {
		p.takeOne(request{Msg: m})
	}
}

// takeAll serves the requests of a batch, one after the other. Before each of them it sees to it that another goroutine is there
// to go on with the rest, so that none waits for one that takes long.
func (p *pool) takeAll(b *batch) {
	defer b.release()
	for {
		r, more := b.next()
		if r.Msg == nil {
			return
		}
		if more && b.standby.CompareAndSwap(false, true) {
			b.holders.Add(1)
			p.owned.Go(func() {
				b.standby.Store(false)
				p.takeAll(b)
			})
		}
		p.takeOne(r)
	}
}

func (p *pool) takeOne(r request) {
	by, ok := p.admit(r.Msg)
	if !ok {
		p.refuse(r)
		return
	}
	p.reply(r, p.answer(r.Msg, by))
}

func (p *pool) answer(m *nats.Msg, by string) Answer {
	defer p.release(by)
	return p.serve(m)
}

// admit takes one of the limit slots, or one of the requester's own, if one is free. What is being refused takes none. It returns who the
// requester is, if that counts.
func (p *pool) admit(m *nats.Msg) (by string, ok bool) {
	if p.shares != nil {
		return p.shares.admit(m, &p.busy, p.limit)
	}
	for {
		busy := p.busy.Load()
		if busy >= p.limit {
			return "", false
		}
		if p.busy.CompareAndSwap(busy, busy+1) {
			return "", true
		}
	}
}

func (p *pool) release(by string) {
	p.busy.Add(-1)
	if p.shares != nil {
		p.shares.release(by)
	}
}

// stop waits until all work that has arrived is done, and ends the goroutines. No more may arrive.
func (p *pool) stop() {
	p.work <- nil
	p.owned.Wait()
}
