package bus

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"
)

// Options configure a [Client]. Only ServerName is required.
type Options struct {
	// ServerName is the homeserver's, such as example.com.
	ServerName string

	// Web are the limits for requests for modules' web resources; see [Client.Handler].
	Web WebOptions

	// Registerer gets the client's metrics, whose names begin with modulebus_. Two clients need one each. Default: there are no
	// metrics.
	Registerer prometheus.Registerer

	// TracerProvider gets a span for each ask that goes to modules, for each module that is asked, for each call of the Module
	// API that is served, and for each request for a web resource: children of the span that the caller's context carries, and
	// parents of what the module does. Nothing of what is asked or answered is in them. A context's span is passed on to
	// modules without a provider, too. Default: there are no spans, which costs nothing; otel.GetTracerProvider() is the one
	// that the program has set.
	TracerProvider trace.TracerProvider

	// Log gets a line for each failure of a module, and drops lines beyond five a second. Default: nothing is logged.
	Log *zerolog.Logger

	// Observe is called at the end of each ask that went to modules, on the goroutine of its caller, which waits for it.
	// The trace is valid until Observe returns. Observe may be called concurrently. Default: none, which costs nothing.
	Observe func(*Trace)
}
