package spans

import (
	"context"
	"maps"
	"net/http"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/internal/wire"
)

// W3C is the one form in which traces go from process to process.
var W3C propagation.TraceContext

// Carried is the span that ctx carries, for a message; nothing where it carries none.
func Carried(ctx context.Context) (c wire.TraceContext) {
	return carried(trace.SpanContextFromContext(ctx))
}

// Carried is the span, for a message.
func (s Span) Carried() wire.TraceContext {
	if s.span == nil {
		return wire.TraceContext{}
	}
	return carried(s.span.SpanContext())
}

func carried(sc trace.SpanContext) (c wire.TraceContext) {
	if !sc.IsValid() {
		return c
	}
	both := propagation.MapCarrier{}
	W3C.Inject(trace.ContextWithSpanContext(context.Background(), sc), both)
	return wire.TraceContext{Parent: both[wire.HeaderTraceparent], State: both[wire.HeaderTracestate]}
}

// Received is ctx with the trace that the headers of a message name, if they name any.
func Received(ctx context.Context, m *nats.Msg) context.Context {
	if len(m.Header) == 0 {
		return ctx
	}
	return extract(ctx, wire.TraceContextOf(m))
}

func extract(ctx context.Context, c wire.TraceContext) context.Context {
	if c.Parent == "" {
		return ctx
	}
	return W3C.Extract(ctx, propagation.MapCarrier{wire.HeaderTraceparent: c.Parent, wire.HeaderTracestate: c.State})
}

// ReceivedHTTP is the request with the trace that its header names in its context, if it names any and the context none.
func ReceivedHTTP(r *http.Request) *http.Request {
	if len(r.Header["Traceparent"]) == 0 || trace.SpanContextFromContext(r.Context()).IsValid() {
		return r
	}
	return r.WithContext(W3C.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
}

// SendHTTP has the request's header name the trace of its context, if that has one. The header is not the one that it was.
func SendHTTP(r *http.Request) {
	if trace.SpanContextFromContext(r.Context()).IsValid() {
		r.Header = maps.Clone(r.Header)
		r.Header.Del("Tracestate") // Of another span.
		W3C.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
	}
}

// Keep returns ctx with the span that another context carries, if it carries any.
func Keep(ctx, from context.Context) context.Context {
	if span := trace.SpanFromContext(from); span.SpanContext().IsValid() {
		return trace.ContextWithSpan(ctx, span)
	}
	return ctx
}
