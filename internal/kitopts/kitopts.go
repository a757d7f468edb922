// Package kitopts has the options of package modulekit that are for this Go module alone: what takes the place of NATS
// and busd when a module is tested. They travel in the context of modulekit.Run, so that the public options show nothing
// that a module author cannot use.
package kitopts

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/subjects"
)

// Module says what takes the place of the bus. The zero value is what modules get.
type Module struct {
	// Constructed is told of the module when it has been constructed from Config. The module is on no bus then: Run
	// returns as soon as Constructed does, and Host takes the place of what is out there.
	Constructed func(Constructed)
	Config      json.RawMessage
	Host        Host

	// Answers are what the module answers, beside what New registers: for modules that know callbacks only when they run.
	Answers map[*subjects.Declaration]Answer
}

// Answer answers one callback. It may be called concurrently.
type Answer func(ctx context.Context, req proto.Message) (proto.Message, error)

type key struct{}

// With returns a context by which modulekit.Run runs the module as o says.
func With(ctx context.Context, o Module) context.Context { return context.WithValue(ctx, key{}, o) }

// From returns the options that a context carries: the zero value where it carries none.
func From(ctx context.Context) Module {
	o, _ := ctx.Value(key{}).(Module)
	return o
}

type newsKey struct{}

// WithNews returns a question's context that has the name of the news.
func WithNews(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, newsKey{}, id)
}

// News returns the name of the news that a question's context has; empty for none.
func News(ctx context.Context) string {
	id, _ := ctx.Value(newsKey{}).(string)
	return id
}

// Host is what a module reaches from inside, besides the questions it is asked. Its methods may be called concurrently.
type Host interface {
	// Call makes a call of the Module API. The reply is of the method's type.
	Call(ctx context.Context, m *subjects.Method, req proto.Message) (proto.Message, error)

	// Bucket opens the module's store.
	Bucket(ctx context.Context) (Bucket, error)

	// ReadFile returns a piece of a file that a request is about, which is empty at the file's end.
	ReadFile(ctx context.Context, subject string, offset int64, length uint32) ([]byte, error)
}

// Constructed is a module that was constructed, registered what it implements, and is asked directly.
type Constructed struct {
	// Callbacks are what it registered.
	Callbacks []*subjects.Declaration

	// Ask asks it as a bus would: the request has what the module registered for, and travels as bytes; a panic becomes an
	// error. The answer is nil when the module has no opinion, or did not register the callback.
	Ask func(ctx context.Context, d *subjects.Declaration, req proto.Message) (proto.Message, error)

	// Web has its web resources, by path.
	Web map[string]http.Handler

	// Read is handed records of decisions; nil where the module reads none.
	Read func(context.Context, *decision.Batch) error

	// Loops are its looping background calls.
	Loops []Loop
}

// Loop is a looping background call.
type Loop struct {
	Every time.Duration
	All   bool // on all workers, not only on the one that leads
	Call  func(context.Context)
}

// Entry is a value of a key, or that it was deleted.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	Created  time.Time
	Deleted  bool
}

// Write says what is written to a key.
type Write struct {
	Value  []byte
	Delete bool
	After  *uint64 // the revision that the key must have, 0 for none; nil for any
}

// Bucket is a key-value store. Its methods may be called concurrently.
type Bucket interface {
	// Get returns the last entry of a key, modulekit.ErrKeyNotFound if there is none or it is a deletion.
	Get(ctx context.Context, key string) (Entry, error)

	// Write returns the new revision, modulekit.ErrConflict if the key has another one than it must.
	Write(ctx context.Context, key string, w Write) (uint64, error)

	// Last returns the last entry of each key, deletions among them.
	Last(ctx context.Context) ([]Entry, error)

	// History returns the entries of a key that are kept, the oldest first.
	History(ctx context.Context, key string) ([]Entry, error)

	// Watch calls changed for each key that may have changed, and with an empty key when any may have, until ctx ends.
	// It returns when it listens.
	Watch(ctx context.Context, changed func(key string)) error
}
