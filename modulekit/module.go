package modulekit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// Module is a module as its author writes it. Config is whatever the operator's configuration becomes.
type Module[Config any] struct {
	// Version is the module's, as its author counts: a semantic version. Default: 0.0.0.
	Version string

	// ParseConfig turns the operator's config, a JSON object, into what New gets. It may transform it, and refuses it by
	// returning a [*ConfigError]. Default: [DecodeConfig].
	ParseConfig func(raw json.RawMessage) (Config, error)

	// New constructs the module, which registers what it implements. It is called again, for a new instance beside the
	// old one, when the operator changes the configuration.
	New func(config Config, api *ModuleAPI) error
}

// Options say where a module runs. ServerName and Module are required.
type Options struct {
	// ServerName is the homeserver's, such as example.com.
	ServerName string

	// Module is the module's name in the operator's roster.
	Module string

	// Worker names this process among the module's workers; no two may share one. Default: a random name.
	Worker string

	// Concurrency is how many requests are worked on at once; what is over it is answered "busy". Default: 256.
	Concurrency int

	// WebConcurrency is how many requests for web resources are worked on at once, a stream of events or a WebSocket
	// being one; what is over it goes to another worker, or is answered 503. Default: 16384.
	WebConcurrency int

	// DrainTimeout is how long requests under way may take when the module stops. Default: 10 s.
	DrainTimeout time.Duration

	// Log gets what happens to the module. Default: nothing is logged.
	Log *zerolog.Logger

	nc    *nats.Conn    // nil for a module that is on no bus
	lease time.Duration // shorter in tests
}

func (o Options) withDefaults() Options {
	nop := zerolog.Nop()
	o.Worker = cmp.Or(o.Worker, nuid.Next())
	o.Concurrency = cmp.Or(o.Concurrency, 256)
	o.WebConcurrency = cmp.Or(o.WebConcurrency, 16<<10)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 10*time.Second)
	o.Log = cmp.Or(o.Log, &nop)
	o.lease = cmp.Or(o.lease, Lease)
	return o
}

// Run runs the module until ctx ends; then it drains: takes no more requests, finishes those under way, and returns nil.
// Streams and WebSockets that do not end by themselves within DrainTimeout are ended, visibly for their clients.
// It waits, and says so in the log, while busd is not there or the roster does not list the module.
//
// It returns a [*ConfigError] when the configuration is refused, of which busd is told; and another error when the
// module cannot be constructed or NATS fails for good. The connection stays the caller's. A second one is made with its
// options, but none of its callbacks, for the bodies of web resources, so that they do not delay questions; where that
// fails, they go over the first.
func Run[Config any](ctx context.Context, nc *nats.Conn, m Module[Config], o Options) error {
	if o.ServerName == "" || o.Module == "" {
		return errors.New("modulekit: Options.ServerName and Options.Module are required")
	}
	if m.New == nil {
		return fmt.Errorf("modulekit: module %s has no New", o.Module)
	}
	o.nc = nc
	m.Version = cmp.Or(m.Version, "0.0.0")
	w := newWorker(nc, o.withDefaults(), m.Version)
	w.build = func(e *rosterv1.Entry) (*instance, error) { return build(m, w.options, e) }
	return w.run(ctx)
}
