package natsrequest

import (
	"bytes"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/modulebus/modulebus/internal/batch"
)

// outbox publishes requests in the order in which they were sent, those that are sent at about the same time together: in one
// system call, and in one message where they may.
//
// A caller waits after it has sent, and as soon as it does, the client library writes what it published: one system call
// for each request, which would be most of what an ask costs when there are many. So the first sender yields to others
// that are about to send, and then publishes for all of them.
type outbox struct {
	register func(Ticket, waiter) (crowd bool, err error) // is called before the request can be published
	publish  func(parcel)

	mu     sync.Mutex
	idle   sync.Cond // tells close that open has become false
	open   bool      // a goroutine is publishing, and will look again
	closed bool
	due    bool // in has a request that waits for no answer
	late   *time.Timer
	ticks  bool   // late is set
	round  uint64 // of in; those of batches say by it what is theirs
	in     []parcel
	out    []parcel // are being published
}

const (
	// waitBehind is behind how many requests that a worker has not answered another one waits for an answer.
	waitBehind = 32

	// waitMost is how long a question may wait for an answer to others, so that several travel together. Beyond: it travels with those
	// that wait by then.
	waitMost = 500 * time.Microsecond
)

// parcel is one message, with one request or with several.
type parcel struct {
	ticket  Ticket // of the first request; those after it have the numbers that follow
	run     *run   // that its name is of; nil where that is used once
	route   *Route // to the worker; likewise
	request Request
	count   int
	frame   []byte // of those that may travel together; else empty
}

func newOutbox(register func(Ticket, waiter) (bool, error), publish func(parcel)) *outbox {
	o := &outbox{register: register, publish: publish, round: 1}
	o.idle.L = &o.mu
	o.late = time.AfterFunc(time.Hour, o.tick)
	o.late.Stop()
	return o
}

// send publishes a request, or leaves that to the goroutine that is publishing already. In a crowd it yields first. The
// data of the request is not used after it returns.
func (o *outbox) send(r Request, w waiter) (Ticket, error) {
	t, crowd, left, err := o.put(r, w)
	if left || err != nil {
		return t, err
	}
	if crowd {
		runtime.Gosched()
	}
	if o.flush() {
		go o.flushAll() // Not here: this caller has a reply to wait for, and others go on sending.
	}
	return t, nil
}

// flushAll publishes until there is nothing left; close waits for it. Between two messages it yields to goroutines that are about
// to send, so that fewer messages have more in them; without any, that takes no time.
func (o *outbox) flushAll() {
	for o.flush() {
		runtime.Gosched()
	}
}

// release publishes the requests that are held, and those that wait, unless another goroutine is publishing and will publish them.
func (o *outbox) release() {
	o.mu.Lock()
	o.due = len(o.in) > 0
	begins := !o.open && !o.closed && o.due
	o.open = o.open || begins
	o.mu.Unlock()
	if begins && o.flush() {
		go o.flushAll() // As in send.
	}
}

// tick publishes the requests that have waited for an answer as long as they may.
func (o *outbox) tick() {
	o.mu.Lock()
	o.ticks = false
	o.mu.Unlock()
	o.release()
}

// put queues a request and reports whether there is nothing left to do for it: another goroutine is publishing and will
// publish it, it is held until release, it waits for an answer, or the outbox is closed. But for the last, the data is copied, because
// the caller may reuse it.
func (o *outbox) put(r Request, w waiter) (t Ticket, crowd, left bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.parcelFor(r)
	t, w.run = p.ticket+Ticket(p.count), p.run
	if crowd, err = o.register(t, w); err != nil || o.closed {
		return t, crowd, true, err
	}
	waits := o.waits(p)
	left = o.open || r.Held || waits
	p.add(r, left)
	o.due = o.due || !waits
	o.open = o.open || !left
	return t, crowd, left, nil
}

// waits reports whether a request waits for an answer, and sees to it that it does not wait for long.
func (o *outbox) waits(in *parcel) bool {
	if in.run == nil || !in.route.crowded() {
		return false
	}
	if !o.ticks {
		o.ticks = true
		o.late.Reset(waitMost)
	}
	return true
}

// parcelFor returns the parcel in which a request travels: one that has begun, or another.
func (o *outbox) parcelFor(r Request) *parcel {
	b := r.Batch
	if b != nil && b.round == o.round && o.in[b.at].holds(r) {
		return &o.in[b.at]
	}
	at := len(o.in)
	o.in = slices.Grow(o.in, 1)[:at+1]
	p := &o.in[at]
	*p = parcel{frame: p.frame[:0], ticket: newTicket()}
	if b != nil && b.Route != nil {
		p.route, p.run = b.Route, b.Route.runs.take()
	}
	if b != nil {
		p.frame = batch.Begin(p.frame, uint64(p.ticket))
		b.round, b.at = o.round, at
	}
	return p
}

// name is what the reply subject of a parcel with several requests is made of.
func (p *parcel) name() Ticket {
	if p.run != nil {
		return p.run.name
	}
	return p.ticket
}

// holds reports whether the parcel has room for one more request.
func (p *parcel) holds(r Request) bool {
	return p.count < int(min(r.Batch.Most, batch.Most)) && len(p.frame)+len(r.Data) < maxBatch
}

func (p *parcel) add(r Request, clone bool) {
	if r.Batch != nil {
		p.frame = batch.AppendQuestion(p.frame, batch.Question{Timeout: r.Timeout, Data: r.Data})
		r.Data = p.frame[len(p.frame)-len(r.Data):] // The sender may use its memory again.
	} else if clone {
		r.Data = bytes.Clone(r.Data)
	}
	if p.count == 0 {
		p.request = r
	}
	p.count++
}

// flush publishes what is queued, and reports whether there is more to publish now. If not, the next sender publishes.
func (o *outbox) flush() bool {
	o.mu.Lock()
	o.in, o.out = o.out[:0], o.in
	o.due = false
	o.round++
	o.mu.Unlock()
	for i := range o.out {
		o.out[i].leave()
		o.publish(o.out[i])
		o.out[i].reuse(i)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = o.due
	if !o.open && o.closed {
		o.idle.Broadcast()
	}
	return o.open
}

// leave counts the requests that are about to be published.
func (p *parcel) leave() {
	if p.run != nil {
		p.run.count.Store(int32(p.count))
		p.route.away.Add(int32(p.count))
	}
}

// reuse keeps the memory of some payloads for later ones.
func (p *parcel) reuse(i int) {
	const kept = 16
	frame := p.frame[:0]
	if i >= kept || cap(frame) > 2*maxBatch {
		frame = nil
	}
	*p = parcel{frame: frame}
}

// close drops what is held, and what is sent from now on, and waits until the rest is published.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.closed = true; o.open; {
		o.idle.Wait()
	}
}
