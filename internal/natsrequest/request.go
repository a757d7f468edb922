// Package natsrequest sends requests to modules and brings their replies back: what nats.go's own requests do, for callers
// that wait for many replies at once.
//
// Requests that are sent at about the same time share one system call, or one message where the worker takes several at once
// (ADR 64). All replies to single requests come on one subscription. So with many callers a request costs less than nc.Request.
package natsrequest

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/wire"
)

// Requester sends requests to modules. [Mux] is the one over NATS. Its methods may be called concurrently, and do not
// block.
type Requester interface {
	// Send sends a request. The receiver gets the reply, at most once, until Forget. An error says that the request was
	// not sent, and that no reply will come.
	Send(to Receiver, place int, r Request) (Ticket, error)

	// Flush sends the requests that are held back. See [Request].
	Flush()

	// Forget ends the wait for a reply. When it has returned, the receiver is not called for that ticket any more.
	Forget(Ticket)

	// Cancel is Forget, and tells the module at the subject that the answer is no longer wanted.
	Cancel(t Ticket, subject string)

	// Lost tells the receivers of all requests that were sent to the subject that nothing subscribes it any more. Replies may
	// still come.
	Lost(subject string)

	// MaxPayload is the size in bytes of the largest request that can be sent now, its headers included.
	MaxPayload() int
}

// Ticket stands for one request under way.
type Ticket uint64

// Receiver takes replies. The place is the one that was given to Send. It is called from any goroutine and must not
// block.
type Receiver interface {
	Receive(place int, reply *nats.Msg)

	// Lost says that a worker which has one of the receiver's requests may be gone.
	Lost()
}

// Request is one message to a module.
type Request struct {
	Subject string
	Data    []byte        // not used after Send returns
	JSON    bool          // Data, or what is in the file, is in the JSON mapping
	Timeout time.Duration // what is left to answer, where that is less than the module's own timeout; else 0
	File    string        // where the question is read in pieces, instead of Data; else empty
	Size    int           // of what is in the file, in bytes
	Batch   *Batch        // how it may travel with others; nil for by itself
	Held    bool          // it may wait for Flush, which the sender calls at once, when it has sent others
	Trace   wire.TraceContext
}

// Header returns the headers of the request, nil for none.
func (r Request) Header() nats.Header {
	if !r.JSON && r.Timeout == 0 && r.File == "" && r.Trace.Parent == "" {
		return nil
	}
	h := nats.Header{}
	r.Trace.Put(h)
	if r.JSON {
		h[wire.HeaderContentType] = []string{wire.JSONType}
	}
	if r.Timeout > 0 {
		h[wire.HeaderTimeout] = []string{strconv.FormatUint(uint64(wire.Milliseconds(r.Timeout)), 10)}
	}
	if r.File != "" {
		h[wire.HeaderQuestion] = []string{r.File}
		h[wire.HeaderQuestionSize] = []string{strconv.Itoa(r.Size)}
	}
	return h
}
