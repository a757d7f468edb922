package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/config"
)

func newServe(s Streams) *cobra.Command {
	var file, level, format string
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the bus, and the modules that the configuration says to run",
		Long: `Run the bus, and the modules that the configuration says to run.

SIGTERM and SIGINT drain: busd takes no more asks, finishes those under way, stops its modules and exits 0; a second one
ends it at once. SIGHUP, or a change of the file, takes over a new list of modules; a bad file keeps the old one.`,
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
			return serve(c.Context(), file, conf, log, s.Out)
		},
	}
	c.Flags().StringVar(&file, "config", "busd.yaml", "the configuration `file`")
	c.Flags().StringVar(&level, "log-level", "info", "trace, debug, info, warn or error")
	c.Flags().StringVar(&format, "log-format", "", "console or json (default: console on a terminal, json otherwise)")
	return c
}

func serve(ctx context.Context, file string, conf *config.Config, log zerolog.Logger, out io.Writer) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	watching, cancel := context.WithCancel(ctx)
	reload, watched := watch(watching, file, log)
	defer func() { cancel(); <-watched }()
	return busd.Run(ctx, busd.Options{Config: conf, Reload: reload, Announce: out, Log: log})
}

// untilSignal is ctx that SIGTERM or SIGINT ends. A second one has its usual effect, however soon it comes.
func untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals, done := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		for range 2 {
			select {
			case s := <-signals:
				if ctx.Err() != nil {
					signal.Reset(s)
					_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
				}
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, sync.OnceFunc(func() { signal.Stop(signals); close(done); cancel() })
}

// readConfig says each mistake in the file in a line of its own.
func readConfig(file string) (*config.Config, error) {
	c, err := config.Read(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, usageError{fmt.Errorf("busd: there is no %s: name the configuration with --config", file)}
	case err != nil:
		return nil, usageError{err}
	}
	return c, nil
}

func newLogger(w io.Writer, level, format string) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil || level == "" {
		return zerolog.Nop(), usageError{fmt.Errorf("--log-level %q: use trace, debug, info, warn or error", level)}
	}
	f, isFile := w.(*os.File)
	switch {
	case format == "console", format == "" && isFile && isatty.IsTerminal(f.Fd()):
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly}
	case format != "" && format != "json":
		return zerolog.Nop(), usageError{fmt.Errorf("--log-format %q: use console or json", format)}
	}
	return zerolog.New(w).Level(l).With().Timestamp().Logger(), nil
}

// watch brings a configuration whenever the file was changed, or SIGHUP came, and it is good.
func watch(ctx context.Context, file string, log zerolog.Logger) (<-chan *config.Config, <-chan struct{}) {
	const interval = time.Second
	out, done := make(chan *config.Config), make(chan struct{})
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	last, _ := os.ReadFile(file)
	go func() {
		defer close(done)
		defer signal.Stop(hangup)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			forced := false
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				forced = true
			case <-ticker.C:
			}
			now, err := os.ReadFile(file)
			switch {
			case err != nil && forced:
				log.Error().Err(err).Msg("the configuration cannot be read; the old one stays")
				continue
			case err != nil || bytes.Equal(now, last) && !forced:
				continue
			}
			last = now
			offer(ctx, file, now, out, log)
		}
	}()
	return out, done
}

func offer(ctx context.Context, file string, data []byte, out chan<- *config.Config, log zerolog.Logger) {
	c, err := config.Parse(file, data)
	if err != nil {
		log.Error().Err(err).Msg("the changed configuration is not good; the old one stays")
		return
	}
	select {
	case out <- c:
	case <-ctx.Done():
	}
}

func newCheck() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Read a configuration and say every mistake in it, or how it is understood",
		Args:  arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := readConfig(file)
			if err != nil {
				return err
			}
			return conf.Describe(c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&file, "config", "busd.yaml", "the configuration `file`")
	return c
}
