package bus

import (
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/natstransport"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// routes are the web resources of all modules, by path.
type routes map[string]webpath.Resource

// routesOf returns a roster's web resources. The roster gives each path to one module.
func routesOf(r *rosterv1.Roster) routes {
	all := routes{}
	for _, m := range r.GetModules() {
		for _, path := range m.GetWebResources() {
			if _, taken := all[path]; !taken {
				all[path] = webpath.Resource{Module: m.GetName(), Path: path}
			}
		}
	}
	return all
}

// WebOptions are the limits of requests for modules' web resources. A zero value means the default, a negative time no
// limit. A request over a limit is counted in modulebus_web_requests_total by its outcome.
type WebOptions struct {
	// AcceptTimeout is how long it may take until a worker says that it has the request. Beyond it, another worker is
	// asked if that is safe, and else the client is answered 504. Default: 2 s.
	AcceptTimeout time.Duration

	// ResponseTimeout is how long the module may take to begin its response, counted from when the last part of the
	// request was passed on. Beyond it the client is answered 504. Default: 90 s.
	ResponseTimeout time.Duration

	// IdleTimeout is how long a response may pause once it has begun. Beyond it the client's connection is cut. It does
	// not suit server-sent events, and is not applied to upgraded connections (WebSocket). Default: no limit.
	IdleTimeout time.Duration

	// StallTimeout is how long the client may take none of what it is sent. Beyond it its connection is cut.
	// Default: 60 s.
	StallTimeout time.Duration

	// TotalTimeout is how long a request may take from its first byte to the last of its response. The handler's
	// context ends with it; the client is answered 504, or its connection is cut. It is not applied to upgraded
	// connections. Default: no limit.
	TotalTimeout time.Duration

	// BodyLimit is the largest request body in bytes; a larger one is answered 413. Default (0): no limit.
	BodyLimit int64

	// TrustedProxies are the addresses of reverse proxies whose X-Forwarded-For, -Host and -Proto are believed. The
	// fields are read from the right, as far as addresses are trusted: see docs/web-resources.md. What they do not say, and
	// fields of anybody else, are replaced by what the gateway saw. Default: nobody is trusted.
	TrustedProxies []netip.Prefix
}

func (o *WebOptions) gateway(done func(*gateway.Report)) gateway.Options {
	return gateway.Options{
		AcceptTimeout:   o.AcceptTimeout,
		ResponseTimeout: o.ResponseTimeout,
		IdleTimeout:     o.IdleTimeout,
		StallTimeout:    o.StallTimeout,
		TotalTimeout:    o.TotalTimeout,
		BodyLimit:       o.BodyLimit,
		TrustedProxies:  o.TrustedProxies,
		Done:            done,
	}
}

// web is a client's gateway, made when it is first needed.
type web struct {
	client    *Client
	once      sync.Once
	gateway   *gateway.Gateway
	transport *natstransport.Transport // nil where there is no NATS
}

func (w *web) handler() http.Handler {
	w.once.Do(w.open)
	return w.gateway
}

func (w *web) open() {
	if w.client.nc == nil || !w.connect() {
		w.absent()
	}
	w.client.metrics.web.watch(w)
}

func (w *web) connect() bool {
	c := w.client
	t := natstransport.Gateway(c.nc, c.server, nuid.Next())
	g := gateway.New(t, w.route, c.opts.Web.gateway(w.done))
	if err := t.Open(g); err != nil {
		c.log.Error().Err(err).Msg("web resources cannot be served: every request is answered 503")
		return false
	}
	w.gateway, w.transport = g, t
	return true
}

// absent makes a gateway that answers every request for a module with 503.
func (w *web) absent() {
	w.gateway = gateway.New(absent{}, w.route, w.client.opts.Web.gateway(w.done))
}

// close ends requests under way. Later ones are answered 503.
func (w *web) close() {
	w.once.Do(w.absent)
	if w.transport == nil {
		return
	}
	w.gateway.Lost()
	w.transport.Close()
}

func (w *web) dropped() int64 {
	if w.transport == nil {
		return 0
	}
	return w.transport.Dropped()
}

// route is the client's [gateway.Router].
func (w *web) route(path string) (webpath.Resource, bool) {
	return webpath.Longest(w.client.roster.Load().routes, path)
}

// done counts the result of a request, and logs what the client was not told.
func (w *web) done(r *gateway.Report) {
	w.client.metrics.web.done(r)
	webSpan(r.Context, r)
	if r.Err == nil || r.Outcome == gateway.ClientGone || r.Outcome == gateway.BadRequest {
		return
	}
	w.client.log.Warn().Str("module", r.To.Module).Str("resource", r.To.Path).Str("outcome", string(r.Outcome)).
		Err(r.Err).Msg("web resource did not answer, or broke off")
}

// absent is the [gateway.Transport] where there is no NATS: nobody can be asked.
type absent struct{}

var errNoNATS = errors.New("bus: no NATS for web resources")

// Token implements [gateway.Transport].
func (absent) Token(webpath.Resource) string { return flow.NewToken() }

// Ask implements [gateway.Transport].
func (absent) Ask(webpath.Resource, string, []byte) error { return errNoNATS }

// Send implements [gateway.Transport].
func (absent) Send(flow.Channel, flow.Address, string, []byte) error { return errNoNATS }

// Near implements [gateway.Transport].
func (absent) Near(flow.Address, func([]byte), func()) flow.Line { return nil }

// MaxFrame implements [gateway.Transport]. It is the NATS server's default.
func (absent) MaxFrame() int { return 1 << 20 }
