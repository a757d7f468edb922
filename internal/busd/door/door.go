// Package door is how homeservers ask: over HTTP and over NATS.
//
// A [Door] only translates. What an ask means is the [Answerer]'s to say, which all doors share, so that one question gets
// one decision whichever door it comes through. A new front door is a new file, or a folder, with a Door in it; paths that
// it serves over HTTP are rows of routes in http.go.
package door

import (
	"context"
	"sync"
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

// Life is how far busd has come, for doors to go by. The zero value is of no use; see [NewLife].
type Life struct {
	begun, draining chan struct{}
	begin, drain    func()
}

// NewLife returns the life of a busd that has just been started.
func NewLife() *Life {
	l := &Life{begun: make(chan struct{}), draining: make(chan struct{})}
	l.begin = sync.OnceFunc(func() { close(l.begun) })
	l.drain = sync.OnceFunc(func() { close(l.draining) })
	return l
}

// Begin says that it is known what modules want to be asked: from now on, asks are answered.
func (l *Life) Begin() { l.begin() }

// Drain says that busd is about to end: from now on, new asks are turned away.
func (l *Life) Drain() { l.drain() }

// Begun reports whether Begin has been called.
func (l *Life) Begun() bool { return isClosed(l.begun) }

// beginTime is how long a request waits for the beginning. One that comes still earlier is turned away.
const beginTime = 500 * time.Millisecond

// awaitBegin reports whether busd has begun, now or within [beginTime].
func (l *Life) awaitBegin(ctx context.Context) bool {
	if l.Begun() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, beginTime)
	defer cancel()
	select {
	case <-l.begun:
	case <-l.draining:
	case <-ctx.Done():
	}
	return l.Begun()
}

// Draining reports whether Drain has been called.
func (l *Life) Draining() bool { return isClosed(l.draining) }

// untilDrain returns ctx that ends when draining begins, too: nobody waits for news then.
func (l *Life) untilDrain(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		select {
		case <-l.draining:
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
