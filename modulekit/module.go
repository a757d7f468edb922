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
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// Failure is the error of a question that the module failed to answer, in a test with package modulekittest. Kind says how it
// failed, such as ERROR, PANIC or TIMEOUT.
type Failure struct {
	Kind rosterv1.FailureKind
	Text string
}

// Error implements error.
func (f *Failure) Error() string { return (*wire.Failure)(f).Error() }

// Module is a module as its author writes it. Config is the type of its parsed configuration.
type Module[Config any] struct {
	// Version is the semantic version of the module, which busd shows. Default: 0.0.0.
	Version string

	// ParseConfig turns the operator's config, a JSON object, into the value that New gets. It refuses a config by returning
	// a [*ConfigError]. Default: [DecodeConfig].
	ParseConfig func(raw json.RawMessage) (Config, error)

	// New constructs the module, which registers what it implements. It is called again, for a new instance beside the
	// old one, when the operator changes the configuration.
	New func(config Config, api *ModuleAPI) error

	// TracerProvider gets a span for each question that the module answers, for each call of the Module API that it makes,
	// and for each request for its web resources: parts of the trace that the homeserver, or busd, has begun. Contexts
	// carry the trace without a provider, too. If it has a method Shutdown, as OpenTelemetry's SDK has, [Main] calls it
	// when the module has drained. Default: none. Package modulekit/traces has one that is configured by the variables
	// OTEL_….
	TracerProvider trace.TracerProvider
}

const drainTimeout = 10 * time.Second

// Options configure [Run]. ServerName and Module are required.
type Options struct {
	// ServerName is the homeserver's, such as example.com.
	ServerName string

	// Module is the module's name in the operator's roster.
	Module string

	// Worker names this process among the module's workers; no two may share one. Default: a random name.
	Worker string

	// Concurrency is how many requests the worker answers at once. Beyond it, a request is answered "busy" at once, and goes to
	// another worker if there is one. Default: 256.
	Concurrency int

	// WebConcurrency is how many requests for web resources the worker answers at once. A stream of events and a WebSocket count
	// as one for as long as they last. Beyond it, a request goes to another worker, or is answered 503. Default: 16384.
	WebConcurrency int

	// DrainTimeout is how long questions and web requests under way may take when the module stops. After it they are ended,
	// which takes two seconds at most. Default: 10 s; busd kills what still runs 12 s after it was told to stop.
	DrainTimeout time.Duration

	// Log gets the module's log. Default: nothing is logged.
	Log *zerolog.Logger
}

const (
	// concurrency is how many questions a worker answers at once, unless its Options say otherwise. Beyond: answered busy, and
	// another worker is asked.
	concurrency = 256

	// webConcurrency is how many requests for web resources a worker answers at once, unless its Options say otherwise. Beyond:
	// another worker is asked, or the client answered 503.
	webConcurrency = 16 << 10
)

func (o Options) withDefaults() Options {
	nop := zerolog.Nop()
	o.Worker = cmp.Or(o.Worker, nuid.Next())
	o.Concurrency = cmp.Or(o.Concurrency, concurrency)
	o.WebConcurrency = cmp.Or(o.WebConcurrency, webConcurrency)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, drainTimeout)
	o.Log = cmp.Or(o.Log, &nop)
	return o
}

// Run runs the module until ctx ends. Then it drains: it takes no more requests, finishes those under way and the follow-ups
// that the module is being told, and returns nil. After DrainTimeout, the contexts of calls that are
// still under way end, and streams and WebSockets are cut, visibly for their clients. While busd cannot be reached, or the
// roster does not list the module, Run waits, and says so in the log.
//
// It returns a [*ConfigError] when the configuration is refused, after it has reported that to busd. It returns another error
// when the module cannot be constructed, or when nats.go or the caller has closed the connection.
//
// The connection stays the caller's. Make it reconnect without limit (nats.MaxReconnects(-1)), also after refused logins
// (nats.IgnoreAuthErrorAbort). Run sets its error handler, and passes errors on to the handler that was there. For the bodies
// of web resources, Run makes a second connection with the same options, but without its callbacks, so that bodies do not
// delay questions; if that fails, bodies go over the first.
func Run[Config any](ctx context.Context, nc *nats.Conn, m Module[Config], o Options) error {
	if o.ServerName == "" || o.Module == "" {
		return errors.New("modulekit: Options.ServerName and Options.Module are required: the names that busd.yaml has for the homeserver and the module")
	}
	if m.New == nil {
		return fmt.Errorf("modulekit: module %s has no New: set the function that constructs it", o.Module)
	}
	o = o.withDefaults()
	m.Version = cmp.Or(m.Version, "0.0.0")
	internal := kitopts.From(ctx)
	m = m.answering(internal.Answers)
	if internal.Constructed != nil {
		return detach(m, o, internal)
	}
	w := newWorker(nc, o, m.Version, spans.New(m.TracerProvider, "modulekit"))
	w.build = func(e *rosterv1.Entry) (*instance, error) { return build(m, o, w.host, e) }
	return w.run(ctx)
}
