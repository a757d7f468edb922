package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/matrix-org/dendrite/setup/config"
	"github.com/modulebus/modulebus/bus"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startTime is how long the server inside may take to listen.
const startTime = 30 * time.Second

// startNATS runs a NATS server inside of this process. Unlike the one that Dendrite starts by itself, it listens, and lets
// in whom its configuration names: for the users of a bus, that is what "busd nats-config" prints.
func startNATS(file string) (*server.Server, error) {
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		return nil, err
	}
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	go s.Start() // It ends with Shutdown.
	if !s.ReadyForConnections(startTime) {
		s.Shutdown()
		return nil, fmt.Errorf("%s: the NATS server did not start in %v", file, startTime)
	}
	return s, nil
}

// connect connects to the NATS that Dendrite uses, with credentials that are the homeserver's on the bus. It outlives every
// absence of NATS, and asks fail at once while that lasts.
func connect(ctx context.Context, cfg *config.Dendrite, o options) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("dendrite"), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
	}
	if o.credentials != "" {
		opts = append(opts, nats.UserCredentials(o.credentials))
	}
	return untilItWorks(ctx, func() (*nats.Conn, error) {
		return nats.Connect(strings.Join(cfg.Global.JetStream.Addresses, ","), opts...)
	})
}

// follow returns a client that knows whom to ask. It waits for busd: without a roster nobody knows what to ask.
func follow(ctx context.Context, nc *nats.Conn, serverName string) (*bus.Client, error) {
	return untilItWorks(ctx, func() (*bus.Client, error) {
		return bus.New(ctx, nc, bus.Options{ServerName: serverName})
	})
}

// untilItWorks tries each second until ctx ends.
func untilItWorks[T any](ctx context.Context, try func() (T, error)) (T, error) {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		v, err := try()
		if err == nil {
			return v, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return v, errors.Join(err, ctx.Err())
		}
	}
}
