package httpdoor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/certs"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/matrix"
)

const (
	// headerTimeout is how long a client may take to send its request's header. Beyond: the connection is closed, and
	// modulebus_connections_cut_total counts it.
	headerTimeout = 10 * time.Second

	// maxHeader is the size of a request's header in bytes. Beyond: answered 431.
	maxHeader = 1 << 20

	// idleTimeout is how long a connection may be without a request. Beyond: the connection is closed, and
	// modulebus_connections_cut_total counts it.
	idleTimeout = 2 * time.Minute

	// turnAwayTime is how long a draining busd answers clients that go on asking with 503. Beyond: it stops listening.
	turnAwayTime = 5 * time.Second

	quietTime  = 50 * time.Millisecond // between checks whether requests still arrive while busd drains
	quietTicks = 5                     // checks without a request after which no client seems to be left
)

// Options configure the door. All but Doors, Failed and TracerProvider are required.
type Options struct {
	Config config.HTTP

	// Doors are the doors whose routes are served. Default: none.
	Doors []door.Served

	// Client passes requests on to modules' web resources.
	Client *bus.Client

	Life *door.Life

	// Guard checks tokens.
	Guard *access.Guard

	// TracerProvider gets a span for each request that leads to asks, or to a module's web resource. Default: there are none.
	TracerProvider trace.TracerProvider

	// Failed is called with the reason when the door stops listening without having been told to. Default: none.
	Failed func(error)

	Log zerolog.Logger
}

// Door is busd's HTTP server: for the doors that are reached over HTTP, and for visitors of modules' web resources. It
// implements [door.Door]. Draining begins with the Drain of its Life. It is also a Prometheus collector, of connections
// that were cut.
type Door struct {
	Options
	prometheus.Collector
	cuts        *cuts
	listener    net.Listener
	server      *http.Server
	served      chan struct{} // closed when the server has ended
	refused     atomic.Int64  // requests turned away while draining
	connections atomic.Int64  // of clients
}

// New returns the door, closed.
func New(o Options) *Door {
	cuts := newCuts(o.Log)
	return &Door{Options: o, Collector: cuts.counter, cuts: cuts}
}

// Open implements [door.Door]. It listens.
func (d *Door) Open() (err error) {
	d.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", d.Config.Listen)
	if err != nil {
		return fmt.Errorf("http.listen: cannot listen on %s: %w: is another busd running? Set http.listen to another port", d.Config.Listen, err)
	}
	d.listener = d.cuts.over(d.listener)
	d.server = &http.Server{
		Handler: newRouter(d), ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeader, IdleTimeout: idleTimeout, ConnState: d.count,
		ErrorLog: log.New(httpLog{d.Log}, "", 0),
	}
	if d.server.TLSConfig, err = certs.Server(d.Config.TLS, "http.tls", d.Log, "http/1.1"); err != nil {
		return errors.Join(err, d.listener.Close())
	}
	if d.server.TLSConfig != nil {
		d.listener = tls.NewListener(d.listener, d.server.TLSConfig)
	}
	d.served = make(chan struct{})
	go d.serve()
	return nil
}

func (d *Door) serve() {
	defer close(d.served)
	if err := d.server.Serve(d.listener); !errors.Is(err, http.ErrServerClosed) && d.Failed != nil {
		d.Failed(fmt.Errorf("the HTTP door failed: %w", err))
	}
}

// Addr is where the open door listens.
func (d *Door) Addr() string { return d.listener.Addr().String() }

// Drain implements [door.Door]. It answers new requests 503 until no more arrive, so that clients get an answer and not
// a broken connection, and finishes the requests under way.
func (d *Door) Drain(ctx context.Context) {
	d.awaitQuiet()
	if err := d.server.Shutdown(ctx); err != nil {
		d.Log.Warn().Err(err).Msg("HTTP requests were still under way")
	}
}

// Close implements [door.Door].
func (d *Door) Close() {
	if d.served != nil {
		_ = d.server.Close()
		<-d.served
	}
}

// awaitQuiet returns when no request has been turned away for a while, which is short if no client is connected.
func (d *Door) awaitQuiet() {
	ticker := time.NewTicker(quietTime)
	defer ticker.Stop()
	quiet, last := 0, d.refused.Load()
	for start := time.Now(); time.Since(start) < turnAwayTime; {
		<-ticker.C
		if now := d.refused.Load(); now != last {
			quiet, last = 0, now
			continue
		}
		if quiet++; quiet == quietTicks || d.connections.Load() == 0 {
			return
		}
	}
}

// count follows how many clients are connected, and what they do.
func (d *Door) count(c net.Conn, s http.ConnState) {
	turn(c, s)
	switch s {
	case http.StateNew:
		d.connections.Add(1)
	case http.StateHijacked, http.StateClosed:
		d.connections.Add(-1)
	}
}

// httpLog is where net/http logs.
type httpLog struct{ log zerolog.Logger }

// Write implements [io.Writer].
func (l httpLog) Write(line []byte) (int, error) {
	l.log.Warn().Str("from", "http").Msg(string(bytes.TrimSpace(line)))
	return len(line), nil
}

// Routes implements [door.Served]: the routes of all doors, and those for the rest of busd's own paths.
func (d *Door) Routes() []door.Route {
	routes := []door.Route{
		{In: webpath.Root, Path: "{$}", Open: "says what busd is", Always: true, Handler: pointer},
		{In: webpath.Root, Open: "nothing is there", Handler: unrecognizedPath},
		{In: webpath.Bus, Path: "/", Needs: access.Read, Handler: unrecognizedPath},
	}
	for _, one := range d.Doors {
		routes = append(routes, one.Routes()...)
	}
	return routes
}

// pointer answers people who open the door's root.
func pointer(w http.ResponseWriter, _ *http.Request) {
	door.Write(w, http.StatusOK, "text/plain; charset=utf-8", []byte(`This is busd, the bus between a Matrix homeserver and its modules.

/_modulebus/            how modules are and what is decided, for a browser
/_modulebus/v1/modules  the modules, and how they are
/_modulebus/v1/wants    what they want to be asked
/readyz  /healthz  /metrics
`))
}

func unrecognizedPath(w http.ResponseWriter, _ *http.Request) {
	door.NewProblem(http.StatusNotFound, matrix.Unrecognized, "Unrecognized request").WriteTo(w)
}
