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

// standing is a mapping of a subject that nobody uses. The embedded server looks for mappings at each message of a connection only if there
// was one when it read that message, with hundreds of others, from the network: with it, those that Divert adds hold at once.
const standing = "unused"

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

	// UserOf returns whose a connection to the embedded server is, if that is known. It may be set once, before Unread is called.
	UserOf func(id uint64) (user identity.User, ok bool)

	keys    *identity.Keys
	server  *server.Server // nil when NATS is external
	account string         // of the embedded server, for the modules
	relay   *relay         // nil if modules reach the server's own port
	lent    bool           // Conn is the caller's
	lost    chan error
	ended   chan struct{} // closed by end
	end     func()
	owned   sync.WaitGroup
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
	for _, c := range b.connections(server.ConnzOptions{Limit: math.MaxInt}) {
		if held += c.Pending; c.Pending > 0 {
			all = append(all, Unread{ID: c.Cid, Bytes: c.Pending})
		}
	}
	if held <= most {
		return nil
	}
	for i := range all {
		all[i].User = b.userOf(all[i].ID)
	}
	return all
}

// userOf returns whose a connection is. To ask the server takes long: it checks the signature of the token.
func (b *Broker) userOf(id uint64) (user identity.User) {
	if b.UserOf != nil {
		if known, ok := b.UserOf(id); ok {
			return known
		}
	}
	for _, c := range b.connections(server.ConnzOptions{CID: id, Username: true}) {
		user, _ = identity.Shown(c.JWT)
	}
	return user
}

// connections returns connections to the embedded server.
func (b *Broker) connections(o server.ConnzOptions) server.ConnInfos {
	if b.server == nil {
		return nil
	}
	list, err := b.server.Connz(&o)
	if err != nil { // The connection that was asked for has ended.
		return nil
	}
	return list.Conns
}

// Embedded reports whether NATS is inside busd.
func (b *Broker) Embedded() bool { return b.server != nil }

// Disconnect ends a connection to the embedded server.
func (b *Broker) Disconnect(id uint64) {
	_ = b.server.DisconnectClientByID(id) // It fails where the connection is gone.
}

// Backlogs returns the streams of which the embedded server has read more than most messages that it has not sent yet. It has no limit for them.
func (b *Broker) Backlogs(most int) (streams []string) {
	if b.server == nil {
		return nil
	}
	const begins, ends = "] stream '", "' sendQ"
	for name, queue := range *b.server.Ipqueuesz(&server.IpqueueszOptions{Filter: ends}) {
		_, stream, ok := strings.Cut(strings.TrimSuffix(name, ends), begins)
		if ok && queue.Pending+queue.InProgress > most {
			streams = append(streams, stream)
		}
	}
	return streams
}

// Divert has the embedded server take what is published at subjects that match from for a message to another subject, at once: also what it
// has received and not looked at yet. Admit ends that.
func (b *Broker) Divert(from, to string) error {
	account, err := b.server.LookupAccount(b.account)
	if err != nil {
		return err
	}
	return account.AddMapping(from, to)
}

// Straighten ends what Divert has begun.
func (b *Broker) Straighten(from string) {
	if account, err := b.server.LookupAccount(b.account); err == nil {
		account.RemoveMapping(from)
	}
}

// Unread is a connection to the embedded server that does not take what it is sent.
type Unread struct {
	ID    uint64 // of the connection
	User  identity.User
	Bytes int // that the server holds for it
}
