package bus

import (
	"context"
	"errors"
	"net/http"

	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// errorType is the kind of an ask's error, as attributes of spans have it.
func errorType(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return wire.KindName(e.Kind)
	}
	return "_OTHER"
}

// callErrorType is the kind of the error of a call of the Module API: its errcode, if it has one.
func callErrorType(err error) string {
	if e, ok := errors.AsType[*MatrixError](err); ok {
		return e.Errcode
	}
	return "_OTHER"
}

// begin begins the span of a module's part, where anybody wants spans.
func (t *attempt) begin() {
	if c := t.asking.client; c.spans != nil {
		_, t.span = c.spans.Call(t.asking.ctx, trace.SpanKindClient, t.asking.plan.callback.FullName())
	}
}

// carried is what a request says of the trace that it is part of.
func (t *attempt) carried() wire.TraceContext {
	if t.asking.client.spans != nil {
		return t.span.Carried()
	}
	return spans.Carried(t.asking.ctx) // The caller's, who may trace though this client does not.
}

// finish ends the span of a module's part.
func (t *attempt) finish() {
	if t.span.Recorded() {
		var m ModuleTrace
		m.fill(t)
		t.span.Of(m.Module, m.Worker)
		t.span.Set(
			spans.Said.String(string(m.Said)), // Empty where its answer is no longer wanted.
			spans.Hedged.Bool(t.hedged),
			spans.Shadow.Bool(t.asking.shadow),
		)
		if m.Failure != rosterv1.FailureKind_FAILURE_KIND_UNSPECIFIED {
			t.span.Fail(wire.KindName(m.Failure))
		}
	}
	t.span.End()
	t.span = spans.Span{}
}

// spanned has each request for a web resource make a span, which the worker's is a child of.
func (c *Client) spanned(next http.Handler) http.Handler {
	if c.spans == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, ok := c.web.route(r.URL.Path)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		r, span := c.spans.Web(r, trace.SpanKindClient, to.Path)
		defer span.End()
		span.Of(to.Module, "")
		spans.SendHTTP(r)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), spanKey{}, span)))
	})
}

type spanKey struct{}

// webSpan says of the span of a request what came of it.
func webSpan(ctx context.Context, r *gateway.Report) {
	span, ok := ctx.Value(spanKey{}).(spans.Span)
	if !ok {
		return
	}
	span.Answered(r.Status)
	if r.Outcome != gateway.OK {
		span.Fail(string(r.Outcome))
	}
}
