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

// errorType is the kind of an ask's error, for an attribute of a span.
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

// begin begins the span of a module's part, if the client makes spans.
func (t *attempt) begin() {
	if c := t.asking.client; c.spans != nil {
		_, t.span = c.spans.Call(t.asking.ctx, trace.SpanKindClient, t.asking.plan.callback.FullName())
	}
}

// carried is the trace context that the request carries to the module.
func (t *attempt) carried() wire.TraceContext {
	if t.asking.client.spans != nil {
		return t.span.Carried()
	}
	return spans.Carried(t.asking.ctx) // The caller's span: the caller may trace although this client does not.
}

// finish ends the span of a module's part.
func (t *attempt) finish() {
	if t.span.Recorded() {
		var m ModuleTrace
		m.fill(t)
		t.span.Of(m.Module, m.Worker)
		t.span.Set(
			spans.Said.String(string(m.Said)), // Empty if its answer was no longer wanted.
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

// spanned makes a span for each request for a web resource. The worker's span is its child.
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

// webSpan writes the result of a request to its span.
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
