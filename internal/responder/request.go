package responder

import (
	"context"
	"sync"
	"time"
)

// Request is the context of one request that is being served. A context with a deadline costs more than all else that is
// done for a request, and most handlers never wait for its end: so the real context, and its timer, are made when
// somebody first asks for more than the deadline. End must be called.
type Request struct {
	parent   context.Context //nolint:containedctx // It is one.
	deadline time.Time       // zero for none
	name     string          // by which it can be cancelled; empty if it cannot
	inFlight *inFlight

	before, next *Request // in inFlight
	listed       bool     // likewise

	mu      sync.Mutex
	ended   bool
	real    context.Context //nolint:containedctx // As above; nil until somebody asks for more than the deadline.
	endReal context.CancelFunc
}

// End ends the context. It may be called more than once.
func (r *Request) End() {
	if r.name != "" {
		r.inFlight.remove(r)
	}
	r.cancel()
}

func (r *Request) cancel() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.endReal != nil {
		r.endReal()
	}
}

// Deadline implements [context.Context].
func (r *Request) Deadline() (deadline time.Time, ok bool) { return r.deadline, !r.deadline.IsZero() }

// Done implements [context.Context].
func (r *Request) Done() <-chan struct{} { return r.full().Done() }

// Err implements [context.Context].
func (r *Request) Err() error { return r.full().Err() }

// Value implements [context.Context]. Package context finds the real context by it, and derives others from that.
func (r *Request) Value(key any) any { return r.full().Value(key) }

// full returns the real context.
func (r *Request) full() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.real == nil {
		if r.deadline.IsZero() {
			r.real, r.endReal = context.WithCancel(r.parent)
		} else {
			r.real, r.endReal = context.WithDeadline(r.parent, r.deadline)
		}
		if r.ended {
			r.endReal()
		}
	}
	return r.real
}
