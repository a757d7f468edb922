package spans

import (
	"context"
	"net/http"
	"slices"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// scope is what the names of the packages that make spans begin with.
const scope = "github.com/modulebus/modulebus/"

// Maker makes spans. A nil Maker makes none, and costs nothing; what others carry in contexts and headers is passed on all the
// same. Its methods may be called concurrently.
type Maker struct{ tracer trace.Tracer }

// New returns a maker for a package, nil without a provider.
func New(p trace.TracerProvider, by string) *Maker {
	if p == nil {
		return nil
	}
	return &Maker{p.Tracer(scope+by, trace.WithSchemaURL(semconv.SchemaURL))}
}

// Span is a span, or none: all that is said of that is dropped.
type Span struct{ span trace.Span }

// Start begins a span, a child of the one that ctx carries.
func (m *Maker) Start(ctx context.Context, kind trace.SpanKind, name string) (context.Context, Span) {
	if m == nil {
		return ctx, Span{}
	}
	ctx, span := m.tracer.Start(ctx, name, trace.WithSpanKind(kind)) //nolint:spancheck // Whoever starts it ends it.
	return ctx, Span{span}                                           //nolint:spancheck // As above.
}

// Call begins the span of a call from one process to another: of a callback, or of a method of the Module API.
func (m *Maker) Call(ctx context.Context, kind trace.SpanKind, method string) (context.Context, Span) {
	ctx, span := m.Start(ctx, kind, method)
	if span.Recorded() {
		span.Set(semconv.RPCSystemNameKey.String("modulebus"), semconv.RPCMethod(method))
	}
	return ctx, span
}

// Serve begins the span of serving a call that came as a message, whose headers say of what trace it is.
func (m *Maker) Serve(ctx context.Context, from *nats.Msg, method string) (context.Context, Span) {
	return m.Call(Received(ctx, from), trace.SpanKindServer, method)
}

// Web begins the span of a request for a module's web resource.
func (m *Maker) Web(r *http.Request, kind trace.SpanKind, resource string) (*http.Request, Span) {
	if m == nil {
		return r, Span{}
	}
	name, method := named(r.Method)
	ctx, span := m.Start(r.Context(), kind, name+" "+resource)
	if span.Recorded() {
		span.Set(method, semconv.HTTPRoute(resource))
	}
	return r.WithContext(ctx), span
}

// methods are those of RFC 9110 and RFC 5789.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect,
	http.MethodOptions, http.MethodTrace,
}

// named is what a span calls a method. One that a visitor made up must not become a name of its own: see OpenTelemetry's conventions
// for HTTP spans.
func named(method string) (string, attribute.KeyValue) {
	if slices.Contains(methods, method) {
		return method, semconv.HTTPRequestMethodKey.String(method)
	}
	return "HTTP", semconv.HTTPRequestMethodOther
}

// Recorded reports whether anybody will read what is said of the span: if not, it need not be made up.
func (s Span) Recorded() bool { return s.span != nil && s.span.IsRecording() }

// Set says something of the span.
func (s Span) Set(attributes ...attribute.KeyValue) { s.span.SetAttributes(attributes...) }

// Of is the module that a span is about, and its worker, where that is known.
func (s Span) Of(module, worker string) {
	if !s.Recorded() {
		return
	}
	s.Set(Module.String(module))
	if worker != "" {
		s.Set(Worker.String(worker))
	}
}

// Answered says with which HTTP status a request was answered; 0 for none.
func (s Span) Answered(status int) {
	if s.Recorded() && status != 0 {
		s.Set(semconv.HTTPResponseStatusCode(status))
	}
}

// Fail says that what the span is about failed, and how: a word of which there are few.
func (s Span) Fail(kind string) {
	if s.Recorded() {
		s.Set(semconv.ErrorTypeKey.String(kind))
		s.span.SetStatus(codes.Error, kind)
	}
}

// End ends the span.
func (s Span) End() {
	if s.span != nil {
		s.span.End()
	}
}
