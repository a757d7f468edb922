// Package door is how homeservers ask: over HTTP and over NATS.
//
// A [Door] only translates. What an ask means is the [Answerer]'s to say, which all doors share, so that one question gets
// one decision whichever door it comes through. A new front door is a new file, or a folder, with a Door in it; paths that
// it serves over HTTP are rows of routes in http.go.
package door

import (
	"context"
	"time"
)

// Door is one way in for homeservers. Its methods are called in this order, once each, by one goroutine.
type Door interface {
	// Open begins to listen. An error says that nothing was begun, and what the operator can do.
	Open() error

	// Drain turns new asks away and finishes those under way, until ctx ends. It is not called on a door that did not open.
	Drain(ctx context.Context)

	// Close ends what Drain has left, and returns when nothing of the door is left. It may be called on a door that did not
	// open.
	Close()
}

// Life is how far busd has come, for doors to go by. Its methods may be called concurrently. See [NewLife].
type Life struct{ begun, draining phase }

// phase is a context that ends when the phase begins.
type phase struct {
	context.Context //nolint:containedctx // It is what happens to busd, not to a call.
	begin           context.CancelFunc
}

func newPhase() phase {
	ctx, cancel := context.WithCancel(context.Background())
	return phase{ctx, cancel}
}

// NewLife returns the life of a busd that has just been started.
func NewLife() *Life { return &Life{newPhase(), newPhase()} }

// Begin says that it is known what modules want to be asked: from now on, asks are answered.
func (l *Life) Begin() { l.begun.begin() }

// Drain says that busd is about to end: from now on, new asks are turned away.
func (l *Life) Drain() { l.draining.begin() }

// Begun reports whether Begin has been called.
func (l *Life) Begun() bool { return l.begun.Err() != nil }

// Draining reports whether Drain has been called.
func (l *Life) Draining() bool { return l.draining.Err() != nil }

// beginTime is how long a request waits for a busd that is starting. Beyond: answered 503.
const beginTime = 500 * time.Millisecond

// awaitBegin reports whether busd has begun, now or within [beginTime].
func (l *Life) awaitBegin(ctx context.Context) bool {
	return l.awaitBeginUntil(until{ctx, time.Now().Add(beginTime)})
}

// awaitBeginUntil reports whether busd has begun, now or before its context or its time is over.
func (l *Life) awaitBeginUntil(end until) bool {
	if l.Begun() {
		return true
	}
	ctx, cancel := context.WithDeadline(end.Context, end.deadline)
	defer cancel()
	select {
	case <-l.begun.Done():
	case <-l.draining.Done():
	case <-ctx.Done():
	}
	return l.Begun()
}

// until is a context that has a deadline and no timer, for an ask, which has a timer of its own: with many asks at a time, what
// costs is that each enters the one context that ends when busd closes.
type until struct {
	context.Context //nolint:containedctx // It is a context.
	deadline        time.Time
}

// Deadline implements [context.Context].
func (u until) Deadline() (time.Time, bool) { return u.deadline, true }

// untilDrain returns ctx that ends when draining begins, too: nobody waits for news then.
func (l *Life) untilDrain(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.draining, cancel)
	return ctx, func() { stop(); cancel() }
}
