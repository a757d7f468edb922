package bus

import (
	"bytes"
	"runtime"
	"sync"

	"github.com/modulebus/modulebus/internal/wire"
)

// outbox publishes requests in the order in which they were sent, those that are sent at about the same time together.
//
// Who asks waits next, and as soon as it does, the client library writes what it published: one system call for each
// request, which would be most of what an ask costs when there are many. So the first who sends lets others go before
// who are about to send, and then publishes for all of them.
type outbox struct {
	publish func(wire.Ticket, wire.Request)

	mu   sync.Mutex
	open bool // somebody is publishing, and will look again
	in   []letter
	out  []letter // are being published
}

type letter struct {
	ticket  wire.Ticket
	request wire.Request
}

// send publishes a request, or leaves that to who is publishing already. In a crowd, others are let go before. The data of
// the request is not used after it returns.
func (o *outbox) send(t wire.Ticket, r wire.Request, crowd bool) {
	if o.put(letter{t, r}) {
		return
	}
	if crowd {
		runtime.Gosched()
	}
	if o.flush() {
		go func() { // What others send meanwhile is not to hold up this one, who has a reply to wait for.
			for o.flush() {
			}
		}()
	}
}

// put reports whether somebody is publishing, and will publish this, too: later, so that is a copy.
func (o *outbox) put(l letter) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	open := o.open
	if open {
		l.request.Data = bytes.Clone(l.request.Data)
	}
	o.open, o.in = true, append(o.in, l)
	return open
}

// flush publishes what there is, and reports whether there is more now. If not, the next who sends publishes.
func (o *outbox) flush() bool {
	o.mu.Lock()
	o.in, o.out = o.out[:0], o.in
	o.mu.Unlock()
	for _, l := range o.out {
		o.publish(l.ticket, l.request)
	}
	clear(o.out)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = len(o.in) > 0
	return o.open
}
