package broker

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/certs"
	"github.com/modulebus/modulebus/internal/busd/config"
)

// startTime is how long the embedded server may take to start. Beyond: busd ends with an error.
const startTime = 10 * time.Second

// syncInterval is how often JetStream's writes are synced to the disk. A power failure loses the writes of at most this
// time. NATS's own default is two minutes.
const syncInterval = time.Second

// infoQueue is how many requests that describe streams and accounts may wait in the embedded server, those of all clients together. Each may be as
// large as a message. Beyond: the server drops all of them.
const infoQueue = 512

// tlsTime is how long a client may take for its part of a TLS handshake, in seconds. Beyond: its connection is closed.
const tlsTime = 5

// logBurst is how many lines of the embedded server's log are passed on each second: each refused client can cause one.
// Beyond: they are dropped.
const logBurst = 50

// embed starts a server and connects to it.
func (b *Broker) embed(o Options) error {
	options, err := serverOptions(o)
	if err != nil {
		return err
	}
	account, err := o.Keys.Account(o.Listed)
	if err != nil {
		return err
	}
	if err := errors.Join(o.Keys.Trust(options, o.Listed), adopt(o.StoreDir, account.ID, options.SystemAccount)); err != nil {
		return err
	}
	if err := b.start(options, o); err != nil {
		return err
	}
	b.account = account.ID
	if err := b.Divert(standing, standing); err != nil {
		return err
	}
	if b.URL = clientURL(b.server); options.TLSConfig != nil {
		if b.relay, err = openRelay(b.server); err != nil {
			return fmt.Errorf("cannot listen for the modules that busd runs: %w", err)
		}
		b.URL = b.relay.url()
	}
	return b.join(o)
}

func (b *Broker) start(options *server.Options, o Options) error {
	s, err := server.NewServer(options)
	if err != nil {
		return fmt.Errorf("cannot start the embedded NATS server: %w", err)
	}
	b.server = s
	failed := make(chan string, 1)
	some := o.Log.Sample(&zerolog.BurstSampler{Burst: logBurst, Period: time.Second})
	s.SetLoggerV2(serverLog{some, failed}, false, false, false)
	go s.Start() // It ends with Shutdown.
	return listening(s, o.NATS.Listen, failed)
}

func serverOptions(o Options) (*server.Options, error) {
	host, port, err := net.SplitHostPort(o.NATS.Listen)
	if err != nil {
		return nil, fmt.Errorf("nats.listen: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("nats.listen: %w", err)
	}
	if n == 0 {
		n = server.RANDOM_PORT
	}
	options := &server.Options{
		Host: host, Port: n, NoSigs: true, ServerName: "busd", DisableShortFirstPing: true,
		MaxPayload: int32(o.NATS.MaxPayload), JetStream: true, StoreDir: o.StoreDir, SyncInterval: syncInterval,
		JetStreamInfoQueueLimit: infoQueue,
	}
	return options, secure(options, o.NATS.TLS, o.Log)
}

// secure makes the server use TLS, if there is a certificate, and demand clients' certificates, if there is an
// authority.
func secure(o *server.Options, c config.TLS, log zerolog.Logger) (err error) {
	if c.Cert == "" {
		return nil
	}
	o.TLS, o.TLSVerify, o.TLSTimeout = true, c.CA != "", tlsTime
	o.TLSConfig, err = certs.Server(c, "nats.tls", log)
	return err
}

// join connects busd to its server, without a port between them.
func (b *Broker) join(o Options) error {
	if err := b.enter("", append(options(o.Log, ""), nats.InProcessServer(b.server))); err != nil {
		return fmt.Errorf("cannot connect to the embedded NATS server: %w", err)
	}
	return nil
}

// listening waits until the server takes connections.
func listening(s *server.Server, listen string, failed <-chan string) error {
	const look = 50 * time.Millisecond
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); {
		select {
		case why := <-failed:
			return unstarted(listen, why)
		default:
		}
		if s.ReadyForConnections(look) {
			return nil
		}
	}
	return errors.New("the embedded NATS server did not start in time")
}

func unstarted(listen, why string) error {
	if strings.Contains(why, "JetStream") {
		return fmt.Errorf("state_dir: the embedded NATS server cannot keep what modules store: %s", why)
	}
	return fmt.Errorf("nats.listen: cannot listen on %s: %s: is another busd or NATS running? "+
		"Set nats.listen to another port, or to port 0 for any free one", listen, why)
}

// clientURL is how a process on this machine reaches the server.
func clientURL(s *server.Server) string {
	addr, _ := s.Addr().(*net.TCPAddr) // The server listens on TCP.
	if addr.IP.IsUnspecified() {
		addr.IP = net.IPv4(127, 0, 0, 1)
	}
	return "nats://" + addr.String()
}

// serverLog passes the embedded server's log on. Notices become debug lines.
type serverLog struct {
	log    zerolog.Logger
	failed chan<- string
}

func (l serverLog) say(level zerolog.Level, format string, v []any) {
	l.log.WithLevel(level).Str("from", "nats-server").Msg(sprintf(format, v))
}

// sprintf formats a text, unless it is formatted already: subjects contain percent signs.
func sprintf(format string, v []any) string {
	if len(v) == 0 {
		return format
	}
	return fmt.Sprintf(format, v...)
}

// Noticef implements server.Logger.
func (l serverLog) Noticef(format string, v ...any) { l.say(zerolog.DebugLevel, format, v) }

// Warnf implements server.Logger.
func (l serverLog) Warnf(format string, v ...any) { l.say(zerolog.WarnLevel, format, v) }

// Errorf implements server.Logger.
func (l serverLog) Errorf(format string, v ...any) { l.say(zerolog.ErrorLevel, format, v) }

// Debugf implements server.Logger.
func (l serverLog) Debugf(format string, v ...any) { l.say(zerolog.TraceLevel, format, v) }

// Tracef implements server.Logger.
func (l serverLog) Tracef(format string, v ...any) { l.say(zerolog.TraceLevel, format, v) }

// Fatalf implements server.Logger. The server expects it to end the process; here the server's start fails instead.
func (l serverLog) Fatalf(format string, v ...any) {
	select {
	case l.failed <- sprintf(format, v):
	default: // The first reason is enough.
	}
}
