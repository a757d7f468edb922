package broker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
)

func embedded(c config.NATS, opts []nats.Option, log zerolog.Logger) (*Broker, error) {
	options, err := serverOptions(c)
	if err != nil {
		return nil, err
	}
	b := &Broker{}
	if options.StoreDir == "" {
		if b.temp, err = os.MkdirTemp("", "busd-nats-"); err != nil {
			return nil, fmt.Errorf("cannot make a folder for modules' stores: %w: set nats.store_dir", err)
		}
		options.StoreDir = b.temp
	}
	if err := b.start(options, c.Listen, opts, log); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Broker) start(options *server.Options, listen string, opts []nats.Option, log zerolog.Logger) error {
	s, err := server.NewServer(options)
	if err != nil {
		return fmt.Errorf("cannot start the embedded NATS server: %w", err)
	}
	b.server = s
	failed := make(chan string, 1)
	s.SetLoggerV2(serverLog{log, failed}, false, false, false)
	go s.Start() // It ends with Shutdown.
	if err := listening(s, listen, failed); err != nil {
		return err
	}
	if b.Conn, err = nats.Connect("", append(opts, nats.InProcessServer(s))...); err != nil {
		return fmt.Errorf("cannot connect to the embedded NATS server: %w", err)
	}
	b.URL = clientURL(s)
	return nil
}

func serverOptions(c config.NATS) (*server.Options, error) {
	host, port, err := net.SplitHostPort(c.Listen)
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
	o := &server.Options{Host: host, Port: n, NoSigs: true, ServerName: "busd", DisableShortFirstPing: true, JetStream: true, StoreDir: c.StoreDir}
	if c.TLS.Cert == "" {
		return o, nil
	}
	tls := &server.TLSConfigOpts{CertFile: c.TLS.Cert, KeyFile: c.TLS.Key, CaFile: c.TLS.CA, Verify: c.TLS.CA != "", Timeout: 5}
	o.TLS = true
	if o.TLSConfig, err = server.GenTLSConfig(tls); err != nil {
		return nil, fmt.Errorf("nats.tls: %w", err)
	}
	return o, nil
}

// listening waits until the server takes connections.
func listening(s *server.Server, listen string, failed <-chan string) error {
	const patience = 10 * time.Second
	ready := make(chan bool, 1)
	go func() { ready <- s.ReadyForConnections(patience) }()
	select {
	case why := <-failed:
		return fmt.Errorf("nats.listen: cannot listen on %s: %s: is another busd or NATS running? "+
			"Set nats.listen to another port, or to port 0 for any free one", listen, why)
	case ok := <-ready:
		if !ok {
			return errors.New("the embedded NATS server did not start in time")
		}
		return nil
	}
}

// clientURL is how a process on this machine reaches the server.
func clientURL(s *server.Server) string {
	addr, _ := s.Addr().(*net.TCPAddr) // The server listens on TCP.
	if addr.IP.IsUnspecified() {
		addr.IP = net.IPv4(127, 0, 0, 1)
	}
	return "nats://" + addr.String()
}

// stopServer ends the embedded server, if there is one.
func (b *Broker) stopServer() {
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
	if b.temp != "" {
		_ = os.RemoveAll(b.temp) // What is left of it is the system's to clean.
	}
}

// serverLog passes on what the embedded server says. Its routine news is for debugging.
type serverLog struct {
	log    zerolog.Logger
	failed chan<- string
}

func (l serverLog) say(level zerolog.Level, format string, v []any) {
	l.log.WithLevel(level).Str("from", "nats-server").Msg(sprintf(format, v))
}

// sprintf leaves text alone that was formatted already: subjects have percent signs in them.
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

// Fatalf implements server.Logger. The server expects to be ended by it; here its start fails instead.
func (l serverLog) Fatalf(format string, v ...any) {
	select {
	case l.failed <- sprintf(format, v):
	default: // The first reason is enough.
	}
}
