package natsrequest

import (
	"bytes"
	"runtime"
	"sync"
)

// outbox publishes requests in the order in which they were sent, those that are sent at about the same time together.
//
// A caller waits after it has sent, and as soon as it does, the client library writes what it published: one system call
// for each request, which would be most of what an ask costs when there are many. So the first sender yields to others
// that are about to send, and then publishes for all of them.
type outbox struct {
	publish func(Ticket, Request)

	mu     sync.Mutex
	idle   sync.Cond // tells close that open has become false
	open   bool      // a goroutine is publishing, and will look again
	closed bool
	in     []queued
	out    []queued // are being published
}

type queued struct {
	ticket  Ticket
	request Request
}

func newOutbox(publish func(Ticket, Request)) *outbox {
	o := &outbox{publish: publish}
	o.idle.L = &o.mu
	return o
}

// send publishes a request, or leaves that to the goroutine that is publishing already. In a crowd it yields first. The
// data of the request is not used after it returns.
func (o *outbox) send(t Ticket, r Request, crowd bool) {
	if o.put(queued{t, r}) {
		return
	}
	if crowd {
		runtime.Gosched()
	}
	if o.flush() {
		go o.flushAll() // Not here: this caller has a reply to wait for, and others go on sending.
	}
}

// flushAll ends when there is nothing to publish; close waits for it.
func (o *outbox) flushAll() {
	for o.flush() {
	}
}

// put queues a request and reports whether there is nothing left to do for it: another goroutine is publishing and will
// publish it, or the outbox is closed. In the first case the data is copied, because the caller may reuse it.
func (o *outbox) put(q queued) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true
	}
	open := o.open
	if open {
		q.request.Data = bytes.Clone(q.request.Data)
	}
	o.open, o.in = true, append(o.in, q)
	return open
}

// flush publishes what is queued, and reports whether more is queued now. If not, the next sender publishes.
func (o *outbox) flush() bool {
	o.mu.Lock()
	o.in, o.out = o.out[:0], o.in
	o.mu.Unlock()
	for _, q := range o.out {
		o.publish(q.ticket, q.request)
	}
	clear(o.out)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = len(o.in) > 0
	if !o.open && o.closed {
		o.idle.Broadcast()
	}
	return o.open
}

// close drops what is sent from now on, and waits until what was sent before is published.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.closed = true; o.open; {
		o.idle.Wait()
	}
}
