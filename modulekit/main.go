package modulekit

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/subjects"
)

// Exit statuses of [Main].
const (
	exitDrained = 0
	exitCrashed = 1
	exitUsage   = 2
	exitKilled  = 143 // as the shell says of a process that SIGTERM ended
	exitRefused = 78  // EX_CONFIG of sysexits: busd does not start the module again before its configuration changes
)

// Main runs the module as a program, and does not return. Flags, or environment variables, say where it runs:
//
//	--nats         MODULEBUS_NATS_URL     default nats://127.0.0.1:4222
//	--server-name  MODULEBUS_SERVER_NAME  required
//	--module       MODULEBUS_MODULE       required
//	--credentials  MODULEBUS_CREDENTIALS  a NATS credentials file
//	--nats-ca      MODULEBUS_NATS_CA      a PEM file with the authorities that NATS's certificate may come from
//	--nats-cert    MODULEBUS_NATS_CERT    a PEM file with the module's own certificate, for a NATS that asks for one
//	--nats-key     MODULEBUS_NATS_KEY     a PEM file with its key
//	--log-level    MODULEBUS_LOG_LEVEL    default info
//
// SIGTERM and SIGINT drain the module. A second SIGINT ends it at once, and so does another SIGTERM a second or more
// after the first; one within a second is ignored. 12 s after the first signal the process ends in any case, whatever
// still holds it up. The exit status is 0 when the module drained, 143 when it was ended before, 78 when its
// configuration was refused, 2 when its flags are wrong, and 1 otherwise, such as when the connection to NATS ended for
// good. Logs go to stderr.
func Main[Config any](m Module[Config]) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	ctx, drain := context.WithCancel(context.Background())
	go obey(signals, drain, func() { os.Exit(exitKilled) })
	os.Exit(execute(ctx, m, os.Args[1:], os.Getenv, os.Stderr))
}

// sameBreath is how long after the first SIGTERM another one is ignored: timeout(1) and service managers send it twice.
const sameBreath = time.Second

// lastTime is how long after the first signal a module may run: its drain, and two seconds to end the rest. Beyond: the
// process exits, because no supervisor may be there to end it.
const lastTime = drainTimeout + 2*time.Second

// obey drains at the first signal, and ends at a later one, or when draining takes too long.
func obey(signals <-chan os.Signal, drain, end func()) {
	<-signals
	drain()
	first, late := time.Now(), time.After(lastTime)
	for {
		select {
		case s := <-signals:
			if s != os.Interrupt && time.Since(first) < sameBreath {
				continue
			}
		case <-late:
		}
		end()
		return
	}
}

// settings are what Main's flags and environment variables say.
type settings struct {
	nats, credentials, ca, cert, key, level string
	options                                 Options
}

func execute[C any](ctx context.Context, m Module[C], args []string, env func(string) string, stderr io.Writer) int {
	s, err := parseFlags(args, env, stderr)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	defer flush(m.TracerProvider)
	nc, err := s.connect(ctx)
	if err == nil {
		defer nc.Close()
		err = Run(ctx, nc, m, s.options)
	}
	var refused *ConfigError
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return exitDrained
	case errors.As(err, &refused):
		s.options.Log.Error().Err(refused).Msg("the configuration was refused")
		return exitRefused
	}
	s.options.Log.Error().Err(err).Msg("module stopped")
	return exitCrashed
}

// flushTime is how long the last spans may take to be sent. Beyond: they are lost.
const flushTime = 2 * time.Second

// flush makes a provider of spans send the last ones.
func flush(p trace.TracerProvider) {
	if sdk, ok := p.(interface {
		Shutdown(ctx context.Context) error
	}); ok {
		ctx, cancel := context.WithTimeout(context.Background(), flushTime)
		defer cancel()
		_ = sdk.Shutdown(ctx) // OpenTelemetry's error handler reports it.
	}
}

func parseFlags(args []string, env func(string) string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("module", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	for _, f := range []struct {
		to                         *string
		name, variable, value, use string
	}{
		{&s.nats, "nats", "MODULEBUS_NATS_URL", nats.DefaultURL, "URL of NATS"},
		{&s.options.ServerName, "server-name", "MODULEBUS_SERVER_NAME", "", "the homeserver's server name"},
		{&s.options.Module, "module", "MODULEBUS_MODULE", "", "the module's name in the roster"},
		{&s.credentials, "credentials", "MODULEBUS_CREDENTIALS", "", "NATS credentials file"},
		{&s.ca, "nats-ca", "MODULEBUS_NATS_CA", "", "PEM file with the authorities of NATS's certificate"},
		{&s.cert, "nats-cert", "MODULEBUS_NATS_CERT", "", "PEM file with the module's own certificate"},
		{&s.key, "nats-key", "MODULEBUS_NATS_KEY", "", "PEM file with the key of --nats-cert"},
		{&s.level, "log-level", "MODULEBUS_LOG_LEVEL", "info", "trace, debug, info, warn or error"},
	} {
		flags.StringVar(f.to, f.name, f.value, f.use+" ($"+f.variable+")")
		*f.to = cmp.Or(env(f.variable), f.value) // Not the flag's default, which is printed: the variable may hold a password.
	}
	if err := flags.Parse(args); err != nil {
		flags.SetOutput(stderr)
		flags.PrintDefaults()
		return nil, err
	}
	s.options.Worker = cmp.Or(env("MODULEBUS_WORKER"), nuid.Next())
	return s, s.check(stderr)
}

func (s *settings) check(stderr io.Writer) error {
	if s.options.ServerName == "" || s.options.Module == "" {
		return errors.New("--server-name and --module are required; busd sets them for the modules it runs")
	}
	if !isURL(s.nats) {
		return errors.New("--nats is not the URL of a NATS server, such as " + nats.DefaultURL)
	}
	if (s.cert == "") != (s.key == "") {
		return errors.New("--nats-cert and --nats-key belong together")
	}
	level, err := zerolog.ParseLevel(s.level)
	if err != nil {
		return fmt.Errorf("--log-level %q: use trace, debug, info, warn or error", s.level)
	}
	log := zerolog.New(stderr).Level(level).With().Timestamp().Logger()
	s.options.Log = &log
	return nil
}

// isURL reports whether each URL of the list can be parsed. It is checked first because nats.go's error would repeat
// the URL's password.
func isURL(list string) bool {
	for server := range strings.SplitSeq(list, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server // As the client library does.
		}
		if u, err := url.Parse(server); err != nil || u.Host == "" {
			return false
		}
	}
	return true
}

// connect waits for NATS, and says so.
func (s *settings) connect(ctx context.Context) (*nats.Conn, error) {
	if err := s.checkCredentials(); err != nil {
		return nil, err
	}
	opts := s.connection()
	for said := false; ; said = true {
		nc, err := nats.Connect(s.nats, opts...)
		if err == nil || permanent(err) {
			return nc, s.explain(err)
		}
		if !said {
			s.options.Log.Warn().Err(err).Msg("cannot reach NATS: waiting for it; is the URL right?")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retry):
		}
	}
}

// connection is how a worker is connected: under its name, for as long as it lives.
func (s *settings) connection() []nats.Option {
	o := s.options
	opts := []nats.Option{
		nats.Name(o.Module + "/" + o.Worker),
		nats.CustomInboxPrefix(subjects.For(o.ServerName).Inbox(o.Module, o.Worker)),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // NATS may come back before it knows its users again.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { o.Log.Error().Err(err).Msg("NATS") }),
		nats.ReconnectWait(200 * time.Millisecond),
	}
	if s.credentials != "" {
		opts = append(opts, nats.UserCredentials(s.credentials))
	}
	if s.ca != "" {
		opts = append(opts, nats.RootCAs(s.ca))
	}
	if s.cert != "" {
		opts = append(opts, nats.ClientCert(s.cert, s.key))
	}
	return opts
}

// permanent reports whether trying again is useless.
func permanent(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, os.ErrNotExist)
}
