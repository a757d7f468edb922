package bus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/tunnel"
	"github.com/modulebus/modulebus/internal/wire"
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
// a 404 with M_UNRECOGNIZED. The longest path that fits wins. It follows the roster; see package tunnel for what
// clients get when a module is not there. It may be called concurrently.
func (c *Client) Handler() http.Handler {
	return tunnel.NewGateway(carrier{c}, tunnel.GatewayOptions{
		ResponseTimeout: c.opts.ResponseTimeout,
		OnFailure:       c.webFailed,
	})
}

func (c *Client) webFailed(to tunnel.Destination, err error) {
	outcome := "failed"
	if errors.Is(err, context.Canceled) {
		outcome = "client_gone"
	}
	c.metrics.web.WithLabelValues(to.Module, outcome).Inc()
	c.log.Warn().Str("module", to.Module).Str("resource", to.Resource).Err(err).Msg("web resource did not answer")
}

// carrier is the [tunnel.Carrier] over a client's line.
type carrier struct{ client *Client }

// Route implements [tunnel.Carrier].
func (c carrier) Route(path string) (tunnel.Destination, bool) {
	return c.client.roster.Load().routes.find(path)
}

// MaxFrame implements [tunnel.Carrier].
func (c carrier) MaxFrame() int { return c.client.line.MaxPayload() }

// Exchange implements [tunnel.Carrier].
func (c carrier) Exchange(ctx context.Context, to tunnel.Destination, frame []byte) ([]byte, error) {
	w := make(waiting, 1)
	subject := c.client.server.Web(to.Module, to.Resource)
	ticket, err := c.client.line.Send(w, 0, wire.Request{Subject: subject, Data: frame})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", tunnel.ErrAbsent, err)
	}
	select {
	case m := <-w:
		return c.read(to, m)
	case <-ctx.Done():
		c.client.line.Forget(ticket)
		return nil, ctx.Err()
	}
}

func (c carrier) read(to tunnel.Destination, m *nats.Msg) ([]byte, error) {
	switch f := wire.FailureOf(m); {
	case f == nil:
		c.client.metrics.web.WithLabelValues(to.Module, "answered").Inc()
		return m.Data, nil
	case f.Kind == rosterv1.FailureKind_ABSENT || f.Kind == rosterv1.FailureKind_BUSY:
		return nil, fmt.Errorf("%w: %w", tunnel.ErrAbsent, f)
	default:
		return nil, f
	}
}

// waiting is the receiver of the one reply to an exchange.
type waiting chan *nats.Msg

// Receive implements [wire.Receiver].
func (w waiting) Receive(_ int, m *nats.Msg) { w <- m }
