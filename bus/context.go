package bus

import (
	"context"
	"io"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

type (
	stateKey  struct{}
	fileKey   struct{}
	originKey struct{}
)

// StateFunc returns the state events of a room that a filter wants: in a request, [Client.StateFilter] of its callback.
type StateFunc func(ctx context.Context, filter *rosterv1.StateFilter) ([]*callbacksv1.StateEvent, error)

// WithState returns a context with which an ask fetches the room state that modules need. The ask calls fetch once, on the
// goroutine of its caller and before any module is asked, and only if a module needs state and the request has none yet.
// The ask's limits do not end it, only ctx does. Its error is the ask's.
func WithState(ctx context.Context, fetch StateFunc) context.Context {
	return context.WithValue(ctx, stateKey{}, fetch)
}

// WithOrigin returns a context that sets the origin of what asks are about, in place of the one that follows from the
// event's sender. The origin selects which policy applies when a module fails, and [Trace] has it. [OriginPolicyServer] can only
// be set in this way.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

type file struct {
	content io.ReaderAt
	size    int64
}

// WithFile returns a context with which an ask lets modules read a file until the ask is over. Content must allow
// concurrent reads, and a read that began before the end of the ask may end after it. If a read fails or panics, the read of
// that module fails, and nothing else. Modules read pieces of at most 128 KiB, as many as they want, or about 200 KiB more:
// see ADR 72. Size is in bytes; a negative size means that it is unknown.
func WithFile(ctx context.Context, content io.ReaderAt, size int64) context.Context {
	return context.WithValue(ctx, fileKey{}, file{content, size})
}
