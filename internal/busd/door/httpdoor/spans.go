package httpdoor

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/internal/spans"
)

// spanned has requests be part of the trace that their senders name, and makes a span of each where anybody wants spans. What comes
// from foreign senders begins a trace of its own, here and in what it is passed on to: anybody could have busd and modules keep
// whatever they like, and say what it belongs to. A span has the path as routes have it: in the path of a request, in its header and
// in its sender's address are users.
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

// answered is a response that knows its status.
type answered struct {
	http.ResponseWriter
	status int // 0 as long as there is none
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

// tell says of a span how the request was answered.
func (a *answered) tell(s spans.Span) {
	s.Answered(a.status)
	if a.status >= http.StatusInternalServerError {
		s.Fail(strconv.Itoa(a.status))
	}
}

// visitor reports whether a request comes from anybody: not from a proxy that the operator trusts.
func (d *Door) visitor(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err != nil || !slices.ContainsFunc(d.Config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap()) })
}

func stranger(*http.Request) bool { return true }
func caller(*http.Request) bool   { return false } // It holds a token.
