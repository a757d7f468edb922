package door

import (
	"net/http"
	"net/netip"
	"slices"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/modulebus/modulebus/internal/spans"
)

// spanned has requests be part of the trace that their senders name, and makes a span of each where anybody wants spans. What comes
// from foreign senders begins a trace of its own: anybody could have busd keep whatever they like, and say what it belongs to.
func (d *HTTP) spanned(name string, foreign func(*http.Request) bool, next http.Handler) http.Handler {
	if d.TracerProvider == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !foreign(r) {
				r = spans.ReceivedHTTP(r)
			}
			next.ServeHTTP(w, r)
		})
	}
	return otelhttp.NewHandler(next, name, otelhttp.WithTracerProvider(d.TracerProvider), otelhttp.WithPropagators(spans.W3C),
		otelhttp.WithPublicEndpointFn(foreign),
		otelhttp.WithSpanNameFormatter(func(name string, r *http.Request) string { return r.Method + " " + name }))
}

// visitor reports whether a request comes from anybody: not from a proxy that the operator trusts.
func (d *HTTP) visitor(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err != nil || !slices.ContainsFunc(d.Config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap()) })
}

func stranger(*http.Request) bool { return true }
func caller(*http.Request) bool   { return false } // It holds a token.
