package httpdoor

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/internal/spans"
)

// spanned makes a span of each request, if busd makes spans, as a part of the trace that the sender names. A request
// from a foreign sender begins a new trace, here and in what it is passed on to: otherwise any visitor could decide
// which traces busd and modules keep, and what they belong to. A span has the route's path and not the request's,
// because the request's path, its header and its sender's address tell of users.
func (d *Door) spanned(name string, foreign func(*http.Request) bool, next http.Handler) http.Handler {
	maker := spans.New(d.TracerProvider, "busd/door")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if foreign(r) {
			r.Header.Del("Traceparent")
			r.Header.Del("Tracestate")
		}
		r, span := maker.Web(spans.ReceivedHTTP(r), trace.SpanKindServer, name)
		defer span.End()
		if span.Recorded() {
			answer := &answered{ResponseWriter: w}
			defer answer.tell(span)
			w = answer
		}
		next.ServeHTTP(w, r)
	})
}

// answered is a response that remembers its status.
type answered struct {
	http.ResponseWriter
	status int // 0 before it is written
}

// WriteHeader implements [http.ResponseWriter].
func (a *answered) WriteHeader(status int) {
	if a.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (a *answered) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// tell writes to a span how the request was answered.
func (a *answered) tell(s spans.Span) {
	s.Answered(a.status)
	if a.status >= http.StatusInternalServerError {
		s.Fail(strconv.Itoa(a.status))
	}
}

// visitor reports whether a request comes from outside, and not from a proxy that the operator trusts.
func (d *Door) visitor(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err != nil || !slices.ContainsFunc(d.Config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap()) })
}

func stranger(*http.Request) bool { return true }
func caller(*http.Request) bool   { return false } // It holds a token.
