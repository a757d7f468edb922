package modulekit

import (
	"context"
	"sync"
	"time"
)

// request is the context of one request. A context with a deadline costs more than all else that the kit does for a
// request, and most callbacks never wait for its end: so there is none, and no timer, before somebody does.
type request struct {
	parent   context.Context //nolint:containedctx // It is one.
	deadline time.Time

	mu     sync.Mutex
	ended  bool
	real   context.Context //nolint:containedctx // As above; nil until somebody asks for more than the deadline.
	cancel context.CancelFunc
}

func newRequest(parent context.Context, timeout time.Duration) *request {
	return &request{parent: parent, deadline: time.Now().Add(timeout)}
}

// end cancels the context. It may be called more than once.
func (r *request) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.cancel != nil {
		r.cancel()
	}
}

// Deadline implements [context.Context].
func (r *request) Deadline() (deadline time.Time, ok bool) { return r.deadline, true }

// Done implements [context.Context].
func (r *request) Done() <-chan struct{} { return r.full().Done() }

// Err implements [context.Context].
func (r *request) Err() error { return r.full().Err() }

// Value implements [context.Context]. Package context finds the real one by it, and derives others from that.
func (r *request) Value(key any) any { return r.full().Value(key) }

// full is the context that all this is about.
func (r *request) full() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.real == nil {
		r.real, r.cancel = context.WithDeadline(r.parent, r.deadline)
		if r.ended {
			r.cancel()
		}
	}
	return r.real
}
