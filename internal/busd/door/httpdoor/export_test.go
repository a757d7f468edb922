package httpdoor

import (
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Spanned is what requests for web resources go through where nobody wants spans.
func Spanned(foreign func(*http.Request) bool, next http.Handler) http.Handler {
	return new(Door).spanned("web resources", foreign, next)
}

// Watched has a server count the connections that it cuts.
func Watched(s *http.Server, l net.Listener, log zerolog.Logger) (net.Listener, prometheus.Collector) {
	c := newCuts(log)
	s.ConnState = turn
	return c.over(l), c.counter
}
