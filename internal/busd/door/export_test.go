package door

import (
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/access"
)

// RosterLag is how long a status waits, for tests.
const RosterLag = rosterLag

// Route is a path of busd's own, for tests.
type Route struct {
	Method, Path string
	Needs        access.Scope
	Open         string
	Endless      bool
}

// Routes are all.
func (d *HTTP) Routes() (all []Route) {
	for _, r := range append(d.routes(), d.antispamRoute()) {
		all = append(all, Route{r.method, r.path, r.needs, r.open, r.endless})
	}
	return all
}

// Spanned is what requests for web resources go through where nobody wants spans.
func Spanned(foreign func(*http.Request) bool, next http.Handler) http.Handler {
	return new(HTTP).spanned("web resources", foreign, next)
}

// Watched has a server count the connections that it cuts.
func Watched(s *http.Server, l net.Listener, log zerolog.Logger) (net.Listener, prometheus.Collector) {
	c := newCuts(log)
	s.ConnState = turn
	return c.over(l), c.counter
}
