package homeserver

import (
	"net/http"
	"strconv"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/internal/spans"
)

// spanned is a transport that makes a span of each request, until its response begins, and tells the homeserver of which trace it is.
type spanned struct {
	http.RoundTripper

	spans *spans.Maker
}

// RoundTrip implements [http.RoundTripper].
func (s spanned) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := s.spans.Start(r.Context(), trace.SpanKindClient, "HTTP "+r.Method)
	defer span.End()
	if span.Recorded() {
		span.Set(semconv.HTTPRequestMethodKey.String(r.Method), semconv.ServerAddress(r.URL.Hostname()), semconv.URLFull(r.URL.Redacted()))
	}
	r = r.WithContext(ctx)
	spans.SendHTTP(r)
	resp, err := s.RoundTripper.RoundTrip(r)
	if err != nil {
		span.Fail("no response")
		return resp, err
	}
	if span.Answered(resp.StatusCode); resp.StatusCode >= http.StatusBadRequest {
		span.Fail(strconv.Itoa(resp.StatusCode))
	}
	return resp, nil
}
