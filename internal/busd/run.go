package busd

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/admission"
	"github.com/modulebus/modulebus/internal/busd/broker"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/httpdoor"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/busd/news"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/busd/statedir"
)

// Options configure [Run].
type Options struct {
	// Config is the operator's configuration. Run does not change it. Required.
	Config *config.Config

	// Reload delivers later configurations, or the errors of reading them. Keys that need a restart stay as they were, and
	// the log says so. Default: none.
	Reload <-chan Reload

	// Announce gets one line that says that busd is ready, or which modules are not. Default: none.
	Announce io.Writer

	// Supervisor is called with busd's state, as assignments of sd_notify(3), one a line. Default: none.
	Supervisor func(state string)

	// TracerProvider gets spans of what is asked and called: see [bus.Options]. Default: there are none.
	TracerProvider trace.TracerProvider

	// Conn is the connection to NATS. It stays the caller's. Default: a new one to what Config.NATS says.
	Conn *nats.Conn

	// JoinPatience is how long a worker that replaces another may take to join before it counts as failed. Default: a
	// minute.
	JoinPatience time.Duration

	// Log gets busd's log, and what the modules that busd runs write.
	Log zerolog.Logger
}

// drainTimeout is how long requests under way may take when busd ends. Beyond: they are broken off.
const drainTimeout = 15 * time.Second

// daemon is one run of busd.
type daemon struct {
	Options
	config    config.Config // the present one
	metrics   *prometheus.Registry
	asked     *prometheus.Registry // the metrics of asks
	reloads   *reloads
	life      *door.Life
	state     *statedir.Dir
	keys      *identity.Keys
	broker    *broker.Broker
	admission *admission.Admission
	roster    *roster.Roster
	service   *roster.Service
	modules   *modules
	news      *news.Service
	records   *records.Recorder
	journal   *records.Journal
	readers   *records.Readers
	client    *bus.Client
	answerer  *door.Answerer
	guard     *access.Guard
	http      *httpdoor.Door
	open      []door.Door
	failed    chan error
	closers   []func()
	call      bus.CallFunc // calls the homeserver's Module API; nil if it has none over HTTP
}

// Run runs busd until ctx ends. Then it drains: it takes no more asks, finishes those under way, and stops the modules
// that it runs. It returns nil after a drain, and otherwise why it could not start or go on.
//
//nolint:contextcheck // ctx says when to stop; what is opened lives until it is stopped.
func Run(ctx context.Context, o Options) error {
	d := &daemon{
		Options: o, config: *o.Config, metrics: newMetrics(), life: door.NewLife(), failed: make(chan error, 1),
	}
	d.reloads = newReloads(d.metrics)
	if d.Supervisor == nil {
		d.Supervisor = func(string) {}
	}
	defer d.close()
	if err := d.prepare(); err != nil {
		return err
	}
	stopStart := d.start(ctx)
	defer stopStart()
	for {
		select {
		case r := <-o.Reload:
			d.reload(ctx, r)
		case <-d.reloads.retry:
			d.tryAgain(ctx)
		case err := <-d.failed:
			return err
		case err := <-d.broker.Lost():
			return err
		case <-ctx.Done():
			stopStart()
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
	for _, open := range slices.Backward(d.open) {
		open.Close()
	}
	for _, undo := range slices.Backward(d.closers) {
		undo()
	}
}

// drain makes all doors turn new asks away and finish those under way. After it, close stops the doors and the modules.
func (d *daemon) drain() {
	d.Log.Info().Msg("draining")
	d.Supervisor("STOPPING=1\nSTATUS=draining")
	d.life.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var draining sync.WaitGroup
	for _, open := range d.open {
		draining.Go(func() { open.Drain(ctx) })
	}
	draining.Wait()
}
