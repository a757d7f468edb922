package cli

import (
	"bytes"
	"context"
	"io"
	stdlog "log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/otlp"
)

func newServe(s Streams) *cobra.Command {
	var file, level, format string
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the bus, and the modules that the configuration says to run",
		Long: `Run the bus, and the modules that the configuration says to run.

SIGTERM and SIGINT drain: busd takes no more asks, finishes those under way, stops its modules and exits 0; a second one
ends it at once, but for a second SIGTERM within half a second, which is the same wish. A change of the file is taken over when
the file has stayed as it is for three seconds, and at once on SIGHUP; a bad file keeps the old one.`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := newLogger(s.Err, level, format)
			if err != nil {
				return err
			}
			conf, err := readConfig(file)
			if err != nil {
				return err
			}
			warn(log, conf)
			if problems := conf.CheckNeeds(); len(problems) > 0 {
				return problems
			}
			defer standardLog(log)()
			return serve(c.Context(), file, conf, log, s.Out)
		},
	}
	configFlag(c, &file, defaultConfig)
	c.Flags().StringVar(&level, "log-level", "info", "trace, debug, info, warn or error")
	c.Flags().StringVar(&format, "log-format", "", "console or json (default: console on a terminal, json otherwise)")
	words(c, "log-level", "trace", "debug", "info", "warn", "error")
	words(c, "log-format", "console", "json")
	return c
}

// warn logs settings that are allowed but are probably mistakes.
func warn(log zerolog.Logger, conf *config.Config) {
	_, odd := conf.CheckFiles()
	for _, w := range append(odd, conf.Warnings...) {
		log.Warn().Msg(w.String())
	}
}

func serve(ctx context.Context, file string, conf *config.Config, log zerolog.Logger, out io.Writer) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	watching, cancel := context.WithCancel(ctx)
	reload, watched := watch(watching, file, log)
	defer func() { cancel(); <-watched }()
	tracing, untrace := openTraces(ctx, log)
	defer untrace()
	supervisor := func(state string) { _, _ = daemon.SdNotify(false, state) } // It is only there under systemd.
	return busd.Run(ctx, busd.Options{Config: conf, Reload: reload, Announce: out, Supervisor: supervisor, TracerProvider: tracing, Log: log})
}

// standardLog passes on to log what libraries, such as net/http, write to the standard library's logger, until it is undone.
func standardLog(to zerolog.Logger) (undo func()) {
	to = to.With().Str("from", "go").Logger().Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second})
	flags, w := stdlog.Flags(), stdlog.Writer()
	stdlog.SetFlags(0)
	stdlog.SetOutput(warnings{to})
	return func() { stdlog.SetFlags(flags); stdlog.SetOutput(w) }
}

// warnings writes each line to the log.
type warnings struct{ log zerolog.Logger }

// Write implements [io.Writer].
func (w warnings) Write(line []byte) (int, error) {
	w.log.Warn().Msg(string(bytes.TrimSpace(line)))
	return len(line), nil
}

// lastSpansTime is how long a collector may take for the last spans. Beyond: they are lost.
const lastSpansTime = 2 * time.Second

// openTraces begins to send spans as the variables OTEL_… say. tracing is nil if they ask for none. Errors in the
// variables are logged, and cost only spans.
func openTraces(ctx context.Context, log zerolog.Logger) (tracing trace.TracerProvider, closeTraces func()) {
	seldom := log.Sample(&zerolog.BurstSampler{Burst: 1, Period: time.Minute})
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { seldom.Warn().Err(err).Msg("spans are lost") }))
	sdk, err := otlp.Open(ctx, "busd")
	if err != nil {
		log.Error().Err(err).Msg("there are no traces")
	}
	if sdk == nil {
		return nil, func() {}
	}
	return sdk, func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastSpansTime)
		defer cancel()
		_ = sdk.Shutdown(ctx) // OpenTelemetry's error handler reports it.
	}
}

// breath is how long after a first SIGTERM a second one is ignored: supervisors signal a process and then its group.
const breath = 500 * time.Millisecond

// untilSignal returns a context that SIGTERM or SIGINT ends. A second signal has its usual effect, unless it is a
// SIGTERM within breath of the first. SIGHUP, which asks for a reload, ends nothing until stop is called, also while busd drains.
func untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals, done := make(chan os.Signal, 8), make(chan struct{})
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	hangups := make(chan os.Signal, 1) // Nobody reads it.
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		var first time.Time
		for {
			select {
			case s := <-signals:
				switch now := time.Now(); {
				case ctx.Err() == nil:
					first = now
					cancel()
				case s == os.Interrupt || now.Sub(first) > breath:
					signal.Reset(s)
					_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, sync.OnceFunc(func() { signal.Stop(signals); signal.Stop(hangups); close(done); cancel() })
}

func newLogger(w io.Writer, level, format string) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil || level == "" {
		return zerolog.Nop(), usagef("--log-level %q: use trace, debug, info, warn or error", level)
	}
	f, isFile := w.(*os.File)
	switch {
	case format == "console", format == "" && isFile && isatty.IsTerminal(f.Fd()):
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly}
	case format != "" && format != "json":
		return zerolog.Nop(), usagef("--log-format %q: use console or json", format)
	}
	return zerolog.New(w).Level(l).With().Timestamp().Logger(), nil
}
