// Package door has what all front doors share. A front door is a way in which homeservers ask, such as HTTP or NATS.
//
// A [Door] only translates. All doors share the [Answerer], so that the same question gets the same decision through
// every door. Each door is a folder of its own here, and a line in the list of doors in internal/busd/doors.go. A door
// that is reached over HTTP is a [Served]: the server in httpdoor answers its routes.
package door

import "context"

// Door is one way in which homeservers ask. Its methods are called in this order, once each, by one goroutine.
type Door interface {
	// Open begins to listen. If it fails, nothing was begun, and the error says what the operator can do.
	Open() error

	// Drain turns new asks away and finishes those under way, until ctx ends. It is not called on a door that did not open.
	Drain(ctx context.Context)

	// Close ends what Drain has left under way, and returns when nothing of the door runs any more. It may be called on a
	// door that did not open.
	Close()
}

// Served is a door that is reached over HTTP. The HTTP server listens for it: it turns requests away and finishes those under way.
type Served interface {
	Door

	// Routes are the paths that the door answers. They do not change.
	Routes() []Route
}

// Stateless is the part of a [Served] that has nothing of its own to open, to drain or to close.
type Stateless struct{}

// Open implements [Door].
func (Stateless) Open() error { return nil }

// Drain implements [Door].
func (Stateless) Drain(context.Context) {}

// Close implements [Door].
func (Stateless) Close() {}
