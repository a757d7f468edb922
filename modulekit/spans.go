package modulekit

import (
	"errors"
	"net/http"

	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/internal/spans"
)

// spanned returns a handler of a web resource that continues the trace which the request's header names, with a span of
// its own if the module makes spans.
func (api *ModuleAPI) spanned(path string, h http.Handler) http.Handler {
	if api.spans == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, spans.ReceivedHTTP(r)) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, span := api.spans.Web(spans.ReceivedHTTP(r), trace.SpanKindServer, path)
		defer span.End()
		span.Of(api.Name(), api.Worker())
		h.ServeHTTP(w, r)
		if response, ok := w.(interface{ Status() int }); ok {
			span.Answered(response.Status())
		}
	})
}

// errorType is the kind of a call's error: its errcode, if it has one.
func errorType(err error) string {
	if e, ok := errors.AsType[*MatrixError](err); ok {
		return e.Errcode
	}
	return "_OTHER"
}
