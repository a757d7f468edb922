// Command dendrite is Dendrite as it is, unpatched, with the modules of a bus: it asks them through package bus, serves
// their pages and their Module API, and shares its NATS with them. docs/homeservers.md says how it is built.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/matrix-org/dendrite/setup"
	"github.com/matrix-org/dendrite/setup/config"
	"github.com/matrix-org/dendrite/setup/process"
)

func main() {
	var o options
	listen := flag.String("http-bind-address", "127.0.0.1:8008", "where clients and other servers reach Dendrite, through a reverse proxy")
	flag.StringVar(&o.natsConfig, "nats-config", "", "configuration of a NATS server to run inside; without, jetstream.addresses names one")
	flag.StringVar(&o.credentials, "bus-credentials", "", "NATS credentials for asking: what busd credentials --homeserver prints")
	cfg := setup.ParseFlags(true)
	if err := run(cfg, *listen, o); err != nil {
		fmt.Fprintln(os.Stderr, "dendrite:", err)
		os.Exit(1)
	}
}

// run serves until SIGTERM or an interrupt.
func run(cfg *config.Dendrite, listen string, o options) error {
	var problems config.ConfigErrors
	if cfg.Verify(&problems); len(problems) > 0 {
		return problems
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	p := process.NewProcessContext()
	h, err := open(ctx, p, cfg, o)
	if err != nil {
		return err
	}
	defer h.close()
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
