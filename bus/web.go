package bus

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/modulebus/modulebus/internal/tunnel"
	"github.com/modulebus/modulebus/internal/tunnel/natsline"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// routes are the web resources of all modules, by path.
type routes map[string]tunnel.Destination

// routesOf relies on the roster to give each path to one module.
func routesOf(r *rosterv1.Roster) routes {
	all := routes{}
	for _, m := range r.GetModules() {
		for _, path := range m.GetWebResources() {
			if _, taken := all[path]; !taken {
				all[path] = tunnel.Destination{Module: m.GetName(), Resource: path}
			}
		}
	}
	return all
}

// find returns the resource with the longest path that is the whole of path, or a prefix of its segments.
func (r routes) find(path string) (tunnel.Destination, bool) {
	for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '/') {
		if to, ok := r[path[:end]]; ok {
			return to, true
		}
	}
	return tunnel.Destination{}, false
}

// Handler returns a handler that serves the web resources of all modules, under the paths they registered; all else is
// a 404 with M_UNRECOGNIZED. The longest path that fits wins. It follows the roster at once, and may be called
// concurrently.
//
// Bodies are streamed in both directions, as fast as they are read; upgrades (WebSocket), trailers, informational
// responses and cancelling pass. When a response breaks off, so does the connection to the client: the handler panics
// with [http.ErrAbortHandler], which whatever is around it must let pass. Errors that are not the module's have the
// field Modulebus-Error.
//
// The first call makes a second connection to NATS, with the options of the first but none of its callbacks, so that
// bodies do not delay asks; where that fails, bodies go over the first. Close ends requests under way.
func (c *Client) Handler() http.Handler { return c.web.handler(c) }

// WebOptions are the limits for requests for modules' web resources. Zero values mean the defaults; a negative time means
// without a limit. A request over a limit is counted in modulebus_web_requests_total by its outcome.
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

	// TrustedProxies are the addresses of reverse proxies whose X-Forwarded-* fields are believed. Fields of anybody
	// else are replaced by what the gateway saw. Default: nobody is trusted.
	TrustedProxies []netip.Prefix
}

func (o *WebOptions) gateway(done func(*tunnel.Report)) tunnel.GatewayOptions {
	return tunnel.GatewayOptions{
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
	nc      *nats.Conn // nil over a line that is not NATS
	once    sync.Once
	gateway *tunnel.Gateway
	line    *natsline.Line
}

func (w *web) handler(c *Client) http.Handler {
	w.once.Do(func() { w.open(c) })
	return w.gateway
}

func (w *web) open(c *Client) {
	carrier := &carrier{client: c}
	w.gateway = tunnel.NewGateway(carrier, c.opts.Web.gateway(c.webDone))
	if w.nc != nil {
		carrier.Line = w.connect(c)
	}
	c.metrics.web.watch(w)
}

func (w *web) connect(c *Client) tunnel.Line {
	line := natsline.Gateway(w.nc, c.server, nuid.Next())
	g := w.gateway
	if err := line.Open(natsline.Side{Receive: g.Receive, Unheard: g.Unheard, Lost: g.Lost, Beat: g.Beat}); err != nil {
		c.log.Error().Err(err).Msg("web resources cannot be served: every request is answered 503")
		return nil
	}
	w.line = line
	return line
}

func (w *web) close() {
	w.once.Do(func() {}) // From now on, none is made.
	if w.line == nil {
		return
	}
	w.gateway.Lost()
	w.line.Close()
}

// webDone counts what came of a request, and tells the log what the client was not told.
func (c *Client) webDone(r *tunnel.Report) {
	c.metrics.web.done(r)
	if r.Err == nil || r.Outcome == tunnel.ClientGone || r.Outcome == tunnel.BadRequest {
		return
	}
	c.log.Warn().Str("module", r.To.Module).Str("resource", r.To.Resource).Str("outcome", string(r.Outcome)).
		Err(r.Err).Msg("web resource did not answer, or broke off")
}

// carrier is the [tunnel.Carrier] of a client.
type carrier struct {
	tunnel.Line // nil where there is no NATS
	client      *Client
}

// Route implements [tunnel.Carrier].
func (c *carrier) Route(path string) (tunnel.Destination, bool) {
	return c.client.roster.Load().routes.find(path)
}

var errNoLine = errors.New("bus: no NATS for web resources")

// Ask implements [tunnel.Line].
func (c *carrier) Ask(to tunnel.Destination, token string, frame []byte) error {
	if c.Line == nil {
		return errNoLine
	}
	return c.Line.Ask(to, token, frame)
}

// Send implements [tunnel.Line].
func (c *carrier) Send(by tunnel.Channel, to tunnel.Address, token string, frame []byte) error {
	if c.Line == nil {
		return errNoLine
	}
	return c.Line.Send(by, to, token, frame)
}

// MaxFrame implements [tunnel.Line].
func (c *carrier) MaxFrame() int {
	if c.Line == nil {
		return c.client.requester.MaxPayload()
	}
	return c.Line.MaxFrame()
}
