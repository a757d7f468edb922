// Package broker is NATS as busd uses it: a server inside of busd, or an external one.
package broker

import (
	"cmp"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
)

const reconnectWait = 200 * time.Millisecond // between attempts while NATS is away

// Broker is a connection to NATS, and the server behind it if that is inside.
type Broker struct {
	// Conn is busd's connection.
	Conn *nats.Conn

	// URL is where modules that busd runs find NATS. It may hold a password.
	URL string

	server *server.Server // nil when NATS is external
	temp   string         // folder that goes when busd does
	lent   bool           // Conn is somebody else's
}

// Open starts the embedded server, or connects to the external one. Close must be called.
func Open(c config.NATS, log zerolog.Logger) (*Broker, error) {
	opts := options(log)
	if c.URL != "" {
		return external(c, opts)
	}
	return embedded(c, opts, log)
}

// Lent returns a broker with a connection that stays the caller's.
func Lent(nc *nats.Conn, c config.NATS) *Broker {
	return &Broker{Conn: nc, URL: cmp.Or(c.URL, nc.ConnectedUrl()), lent: true}
}

func options(log zerolog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name("busd"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(-1), // While NATS is away, an ask fails at once instead of waiting.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Error().Err(err).Msg("NATS") }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // It is nil when busd closes the connection.
				log.Warn().Err(err).Msg("NATS is away")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info().Msg("NATS is back") }),
	}
}

// Shown is the URL without what is secret in it.
func (b *Broker) Shown() string {
	var hosts []string
	for one := range strings.SplitSeq(b.URL, ",") {
		if u, err := url.Parse(strings.TrimSpace(one)); err == nil {
			hosts = append(hosts, u.Scheme+"://"+u.Host)
		}
	}
	return strings.Join(hosts, ",")
}

// Close closes what Open opened. It returns when the embedded server has ended.
func (b *Broker) Close() {
	if b.lent {
		return
	}
	if b.Conn != nil {
		b.Conn.Close()
	}
	b.stopServer()
}
