package wire

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Line carries requests to modules and brings replies back. Its methods may be called concurrently, and do not block.
type Line interface {
	// Send sends a request. Its reply is given to the receiver, at most once, until Forget. An error says that nothing
	// was sent, and that no reply will come.
	Send(to Receiver, i int, r Request) (Ticket, error)

	// Forget ends the wait for a reply. When it has returned, the receiver is not called for that ticket any more.
	Forget(Ticket)

	// Cancel is Forget, and tells the module at the subject that the answer is no longer wanted.
	Cancel(t Ticket, subject string)

	// MaxPayload is the size in bytes of the largest request that can be sent now.
	MaxPayload() int
}

// Ticket stands for one request under way.
type Ticket uint64

// Receiver takes replies: the number it gave to Send tells whose. It is called from any goroutine and must not block.
type Receiver interface {
	Receive(i int, reply *nats.Msg)
}

// Request is one message to a module.
type Request struct {
	Subject string
	Data    []byte        // not used after Send returns
	JSON    bool          // Data is in the JSON mapping
	Timeout time.Duration // what is left to answer, where that is less than the module's own timeout; else 0
}

// Header returns the headers of the request, nil for none.
func (r Request) Header() nats.Header {
	if !r.JSON && r.Timeout == 0 {
		return nil
	}
	h := nats.Header{}
	if r.JSON {
		h[HeaderContentType] = []string{JSONType}
	}
	if r.Timeout > 0 {
		h[HeaderTimeout] = []string{strconv.FormatUint(uint64(Milliseconds(r.Timeout)), 10)}
	}
	return h
}
