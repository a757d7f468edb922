package busd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/registry"
)

// Options say how to run.
type Options struct {
	// Config is what the operator wants. Required.
	Config *config.Config

	// Reload brings later configurations. What of them needs a restart is left as it was, and the log says so.
	// Default: none come.
	Reload <-chan *config.Config

	// Announce gets the one line that says that all is ready, or what is not. Default: nobody does.
	Announce io.Writer

	// Conn is the connection to NATS. It stays the caller's. Default: a new one to what Config.NATS says.
	Conn *nats.Conn

	// Log gets what happens, and what the modules that busd runs write.
	Log zerolog.Logger
}

const (
	drainTimeout  = 15 * time.Second      // for requests under way
	quietTime     = 50 * time.Millisecond // between looks at whether requests still come
	quietTicks    = 5                     // looks that saw none, until nobody seems to be left
	turnAwayTime  = 5 * time.Second       // for clients that do not take that for an answer
	joinTime      = time.Second           // for modules that run already to join a busd that starts
	startTime     = time.Minute           // for modules that busd runs to join, before asks are answered without them
	headerTimeout = 10 * time.Second      // for a client to send its request's header
)

// daemon is one run of busd.
type daemon struct {
	Options
	broker   *broker
	registry *registry.Registry
	service  *registry.Service
	client   *bus.Client
	asks     *natsDoor
	front    *front
	server   *http.Server
	http     config.HTTP // as configured, where Config has the address that came of it
	modules  *modules
	begun    chan struct{} // closed when homeservers may ask
	failed   chan error
	closers  []func()

	connections atomic.Int64 // of HTTP clients
}

// Run runs busd until ctx ends, and drains it then: it takes no more asks, finishes those under way, and stops the
// modules that it runs. It returns nil after a drain, and else why it could not start or go on.
//
//nolint:contextcheck // ctx says when to stop; what is opened lives until it is stopped.
func Run(ctx context.Context, o Options) error {
	d := &daemon{Options: o, failed: make(chan error, 1)}
	defer d.close()
	if err := d.open(); err != nil {
		return err
	}
	d.modules.apply(d.Config.Modules)
	d.startUntil(ctx)
	for {
		select {
		case c := <-o.Reload:
			d.reload(c)
		case err := <-d.failed:
			return err
		case <-ctx.Done():
			d.drain()
			return nil
		}
	}
}

// fail ends the daemon with the first reason.
func (d *daemon) fail(err error) {
	select {
	case d.failed <- err:
	default:
	}
}

func (d *daemon) onClose(f func()) { d.closers = append(d.closers, f) }

// close undoes what was opened, the last first: doors, then modules, then what both need.
func (d *daemon) close() {
	for _, undo := range slices.Backward(d.closers) {
		undo()
	}
}

func (d *daemon) open() error {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if d.broker, err = openBroker(d.Options); err != nil {
		return err
	}
	d.onClose(d.broker.close)
	if err := d.openRegistry(); err != nil {
		return err
	}
	d.modules = newModules(d)
	d.onClose(d.modules.stop)
	o := &bus.Options{
		ServerName: d.Config.ServerName, Registerer: metrics, Log: &d.Log, RosterTimeout: -1,
		Web: bus.WebOptions{TrustedProxies: d.Config.HTTP.TrustedProxies},
	}
	if d.client, err = bus.New(d.broker.nc, o); err != nil {
		return err
	}
	d.onClose(d.client.Close)
	d.onClose(func() { d.asks.close() })
	if err := d.openModuleAPI(); err != nil {
		return err
	}
	metrics.MustRegister(registry.Collector(d.registry))
	d.begun = make(chan struct{})
	if !d.registry.Expects(true) {
		if err := d.begin(context.Background()); err != nil {
			return err
		}
	}
	return d.openHTTP(metrics)
}

// startUntil has asks answered as soon as the modules that busd runs have said what they want to be asked, and the start
// announced, unless ctx or the daemon ends first. See ADR 13.
func (d *daemon) startUntil(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var starting sync.WaitGroup
	starting.Go(func() {
		if err := d.start(ctx); err != nil {
			d.fail(err)
		}
	})
	d.onClose(func() { cancel(); starting.Wait() })
}

func (d *daemon) start(ctx context.Context) error {
	if !isClosed(d.begun) {
		joining, cancel := context.WithTimeout(ctx, startTime)
		defer cancel()
		d.service.AwaitModules(joining, true)
		if ctx.Err() != nil {
			return nil // It stops before it has begun.
		}
		if err := d.begin(ctx); err != nil {
			return err
		}
	}
	if d.Announce != nil {
		d.announce(ctx)
	}
	return nil
}

// begin lets homeservers ask.
func (d *daemon) begin(ctx context.Context) (err error) {
	d.service.Open()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := d.client.AwaitRoster(ctx, 0); err != nil {
		return fmt.Errorf("the roster does not arrive over NATS: %w", err)
	}
	if d.asks, err = openNATSDoor(d.broker.nc, d.Config.ServerName, desk{d.client}, d.Log); err == nil {
		close(d.begun)
	}
	return err
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (d *daemon) openRegistry() (err error) {
	d.registry = registry.New()
	d.registry.Evaluate(d.Config.Sequential)
	d.registry.Configure(d.Config.Modules, d.Config.Budget, time.Now())
	registry.Recall(d.broker.nc, d.Config.ServerName, d.registry)
	if d.service, err = registry.Prepare(d.broker.nc, d.Config.ServerName, d.registry, d.Log); err != nil {
		return err
	}
	d.onClose(d.service.Close)
	var names []string
	for _, m := range d.Config.Modules {
		names = append(names, m.Name)
	}
	d.service.Changed(names)
	ctx, cancel := context.WithTimeout(context.Background(), joinTime)
	defer cancel()
	d.service.AwaitModules(ctx, false)
	return nil
}

// openModuleAPI forwards modules' calls, unless the homeserver is a Go program, or another busd does.
func (d *daemon) openModuleAPI() error {
	f, err := newForwarder(d.Config.Homeserver)
	if err != nil || f == nil {
		return err
	}
	stop, err := d.client.ServeCalls(f.call)
	if err != nil {
		return err
	}
	d.onClose(func() { stop(); f.close() })
	return nil
}

func (d *daemon) openHTTP(metrics prometheus.Gatherer) error {
	token, err := readToken(d.Config.HTTP.TokenFile)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", d.Config.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("http.listen: cannot listen on %s: %w: is another busd running? Set http.listen to another port", d.Config.HTTP.Listen, err)
	}
	d.front = &front{
		desk: desk{d.client}, client: d.client, registry: d.registry, metrics: metrics, token: token,
		alive: d.broker.nc.IsConnected, begun: d.begun, drained: make(chan struct{}),
	}
	d.server = &http.Server{
		Handler: d.front.handler(), ReadHeaderTimeout: headerTimeout, ConnState: d.count,
		ErrorLog: log.New(complaints{d.Log}, "", 0),
	}
	d.http, d.Config.HTTP.Listen = d.Config.HTTP, listener.Addr().String()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := d.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			d.fail(fmt.Errorf("the HTTP door failed: %w", err))
		}
	}()
	d.onClose(func() { _ = d.server.Close(); <-served })
	return nil
}

// complaints are what net/http logs.
type complaints struct{ log zerolog.Logger }

// Write implements [io.Writer].
func (c complaints) Write(line []byte) (int, error) {
	c.log.Warn().Str("from", "http").Msg(string(bytes.TrimSpace(line)))
	return len(line), nil
}

// readToken returns the digest of the token in the file, nil without a file.
func readToken(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	token, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("http.token_file: %w", err)
	}
	if token = bytes.TrimSpace(token); len(token) == 0 {
		return nil, fmt.Errorf("http.token_file: %s is empty: write a long random token into it", path)
	}
	digest := sha256.Sum256(token)
	return digest[:], nil
}

// reload takes over what can be changed while running: the list of modules, the budget, and how is evaluated.
func (d *daemon) reload(c *config.Config) {
	old := d.Config
	if c.ServerName != old.ServerName || c.NATS != old.NATS || !reflect.DeepEqual(c.HTTP, d.http) || c.Homeserver != old.Homeserver {
		d.Log.Warn().Msg("server_name, nats, http and homeserver are only read at the start: restart busd for what changed in them")
	}
	old.Modules, old.Budget, old.Sequential = c.Modules, c.Budget, c.Sequential
	d.registry.Evaluate(c.Sequential)
	changed := d.registry.Configure(c.Modules, c.Budget, time.Now())
	d.modules.apply(c.Modules)
	d.service.Changed(changed)
	d.Log.Info().Strs("changed", changed).Msg("took over the new configuration")
}

// drain turns new requests away until they stop coming, so that clients learn of it from an answer and not from a
// connection that breaks, and finishes what is under way; then close stops the doors and the modules.
func (d *daemon) drain() {
	d.Log.Info().Msg("draining")
	d.front.drain()
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	d.awaitQuiet()
	if err := d.server.Shutdown(ctx); err != nil {
		d.Log.Warn().Err(err).Msg("HTTP requests were still under way")
	}
}

// awaitQuiet returns when no request has been turned away for a while: a short one where no client is connected.
func (d *daemon) awaitQuiet() {
	ticker := time.NewTicker(quietTime)
	defer ticker.Stop()
	quiet, last := 0, d.front.refused.Load()
	for start := time.Now(); time.Since(start) < turnAwayTime; {
		<-ticker.C
		if now := d.front.refused.Load(); now != last {
			quiet, last = 0, now
			continue
		}
		if quiet++; quiet == quietTicks || d.connections.Load() == 0 {
			return
		}
	}
}

// count follows how many clients are connected.
func (d *daemon) count(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		d.connections.Add(1)
	case http.StateHijacked, http.StateClosed:
		d.connections.Add(-1)
	}
}
