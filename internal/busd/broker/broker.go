// Package broker is NATS as busd uses it: a server inside busd, or an external one.
package broker

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/identity"
)

// reconnectWait is the time between attempts while NATS is away. They go on for ever.
const reconnectWait = 200 * time.Millisecond

// Options configure [Open].
type Options struct {
	// NATS is the operator's configuration of NATS. Required.
	NATS config.NATS

	// Keys are those of the bus's users. Required.
	Keys *identity.Keys

	// Listed are the modules on the roster at the start: see [Broker.Admit].
	Listed []string

	// StoreDir is the folder in which the embedded server stores data. Only this process may use it. Required for an
	// embedded server.
	StoreDir string

	// Log gets a line when the connection to NATS is lost or comes back, and the embedded server's log.
	Log zerolog.Logger
}

// Broker is a connection to NATS, and the server behind it if that is inside.
type Broker struct {
	// Conn is busd's connection.
	Conn *nats.Conn

	// URL is where modules that busd runs find NATS. There is no password in it.
	URL string

	// System is a connection to NATS's system account. It is nil if NATS does not know the bus's users: see
	// [Broker.Guarded].
	System *nats.Conn

	keys   *identity.Keys
	server *server.Server // nil when NATS is external
	relay  *relay         // nil if modules reach the server's own port
	lent   bool           // Conn is the caller's
	lost   chan error
	ended  chan struct{} // closed by end
	end    func()
	owned  sync.WaitGroup
}

// Open starts the embedded server, or connects to the external one. Close must be called.
func Open(o Options) (*Broker, error) {
	b := newBroker()
	b.keys = o.Keys
	var err error
	if o.NATS.URL != "" {
		err = b.connect(o)
	} else {
		err = b.embed(o)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	b.watch()
	return b, nil
}

// Lent returns a broker with a connection that stays the caller's. Close must be called.
func Lent(nc *nats.Conn, c config.NATS) *Broker {
	b := newBroker()
	b.Conn, b.URL, b.lent = nc, cmp.Or(c.URL, nc.ConnectedUrl()), true
	b.watch()
	return b
}

func newBroker() *Broker {
	ended := make(chan struct{})
	return &Broker{lost: make(chan error, 2), ended: ended, end: sync.OnceFunc(func() { close(ended) })}
}

// Lost returns a channel that gets an error if NATS is gone for good before Close. While NATS is only away, it gets
// nothing.
func (b *Broker) Lost() <-chan error { return b.lost }

// watch begins to wait for the end of the connections and the server.
func (b *Broker) watch() {
	closed := b.Conn.StatusChanged(nats.CLOSED)
	b.owned.Go(func() {
		defer b.Conn.RemoveStatusListener(closed)
		select {
		case <-closed:
			b.lose(fmt.Errorf("the connection to NATS was closed for good: %w", cmp.Or(b.Conn.LastError(), nats.ErrConnectionClosed)))
		case <-b.ended:
		}
	})
	if b.server == nil {
		return
	}
	b.owned.Go(func() {
		b.server.WaitForShutdown()
		b.lose(errors.New("the embedded NATS server has ended"))
	})
}

func (b *Broker) lose(err error) {
	select {
	case <-b.ended: // Close was called.
	default:
		b.lost <- err
	}
}

// options are those of busd's connections. file is the credentials file that busd logs in with; empty for its own keys.
// A refused login does not end a connection: NATS may learn its users after its start, and the file is read again each
// time.
func options(log zerolog.Logger, file string) []nats.Option {
	r := &refusals{log: log, file: file}
	return []nats.Option{
		nats.Name("busd"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), // While NATS is away, an ask fails at once instead of waiting.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { r.hear(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // It is nil when busd closes the connection.
				log.Warn().Err(err).Msg("NATS is away")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { r.over(); log.Info().Msg("NATS is back") }),
	}
}

// shown returns a list of URLs without their secrets. What is no URL becomes empty.
func shown(list string) string {
	var hosts []string
	for one := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			u = &url.URL{}
		}
		hosts = append(hosts, u.Scheme+"://"+u.Host)
	}
	return strings.Join(hosts, ",")
}

// Close closes what Open opened. It returns when the embedded server has ended, and may be called again.
func (b *Broker) Close() {
	b.end()
	if b.Conn != nil && !b.lent {
		b.Conn.Close()
	}
	if b.System != nil {
		b.System.Close()
	}
	if b.relay != nil {
		b.relay.close()
	}
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
	b.owned.Wait()
}

// Unread returns the connections for which the embedded server holds something, where that is more than most bytes for all
// together; else none. It returns none of an external NATS, which has limits of its own.
func (b *Broker) Unread(most int) (all []Unread) {
	held := 0
	for _, c := range b.pending(false) {
		held += c.Pending
	}
	if held <= most {
		return nil
	}
	for _, c := range b.pending(true) {
		if c.Pending > 0 {
			user, _ := identity.Shown(c.JWT)
			all = append(all, Unread{c.Cid, user, c.Pending})
		}
	}
	return all
}

// pending returns all connections to the embedded server. With users it takes long: the server checks the signature of each one's token.
func (b *Broker) pending(users bool) server.ConnInfos {
	if b.server == nil {
		return nil
	}
	list, err := b.server.Connz(&server.ConnzOptions{Username: users, Limit: math.MaxInt})
	if err != nil { // It fails for options alone.
		return nil
	}
	return list.Conns
}

// Disconnect ends a connection to the embedded server.
func (b *Broker) Disconnect(id uint64) {
	_ = b.server.DisconnectClientByID(id) // It fails where the connection is gone.
}

// Unread is a connection to the embedded server that does not take what it is sent.
type Unread struct {
	ID    uint64 // of the connection
	User  identity.User
	Bytes int // that the server holds for it
}
