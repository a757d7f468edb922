package door

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/certs"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/policyserver"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
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

	quietTime  = 50 * time.Millisecond // between looks at whether requests still come while busd drains
	quietTicks = 5                     // looks that saw none, until nobody seems to be left
)

// HTTPOptions say what is behind the HTTP door. All but Failed, Page, PolicyServer, TracerProvider and Trouble are required.
type HTTPOptions struct {
	// ServerName is the homeserver's, as the configuration has it.
	ServerName string

	Config   config.HTTP
	Answerer *Answerer
	Client   *bus.Client
	Roster   *roster.Roster
	Metrics  prometheus.Gatherer

	// Processes are those that busd runs of modules.
	Processes Processes

	// Records has the records of decisions.
	Records *records.Recorder

	// ConfigStatus says whether what runs is what the configuration file says.
	ConfigStatus func() ConfigStatus

	// PolicyServer answers servers of the federation. Default: busd is none.
	PolicyServer *policyserver.Server

	// Page is for people with a browser. Default: there is none.
	Page Page

	Life *Life

	// Guard says who may do what.
	Guard *access.Guard

	// Alive reports whether busd can do its work.
	Alive func() bool

	// TracerProvider gets a span for each request that leads to asks, or to a module's web resource. Default: there are none.
	TracerProvider trace.TracerProvider

	// Trouble is what is wrong with NATS although it is there; empty for nothing. Default: nothing is known.
	Trouble func() string

	// Failed is told why the door has stopped listening, when nobody wanted it to. Default: nobody is.
	Failed func(error)

	Log zerolog.Logger
}

// HTTP is the door for homeservers that ask over HTTP, for operators, and for visitors of modules' web resources. It implements [Door].
// As a collector, it has how many connections were cut.
// Draining begins with the Drain of its Life.
type HTTP struct {
	HTTPOptions
	prometheus.Collector
	asks        chan struct{} // has a place for each ask under way
	tiers       []tier        // of questions that are being read or asked, by size
	closed      phase         // begins with Close: asks that still run end
	listener    net.Listener
	server      *http.Server
	served      chan struct{}          // closed when the server has ended
	refused     atomic.Int64           // requests turned away while draining
	connections atomic.Int64           // of clients
	stranger    atomic.Pointer[string] // the name of the last homeserver that is called otherwise
	cuts        *cuts
	unheardOf   atomic.Pointer[string] // the last callback of the antispam protocol that nobody here knows
}

// NewHTTP returns the door, closed.
func NewHTTP(o HTTPOptions) *HTTP {
	cuts := newCuts(o.Log)
	return &HTTP{
		HTTPOptions: o, Collector: cuts.counter, asks: make(chan struct{}, maxAsks), tiers: newTiers(), closed: newPhase(), cuts: cuts,
	}
}

// Open implements [Door]. It listens.
func (d *HTTP) Open() (err error) {
	d.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", d.Config.Listen)
	if err != nil {
		return fmt.Errorf("http.listen: cannot listen on %s: %w: is another busd running? Set http.listen to another port", d.Config.Listen, err)
	}
	d.listener = d.cuts.over(d.listener)
	d.server = &http.Server{
		Handler: d.handler(), ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeader, IdleTimeout: idleTimeout, ConnState: d.count,
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

func (d *HTTP) serve() {
	defer close(d.served)
	if err := d.server.Serve(d.listener); !errors.Is(err, http.ErrServerClosed) && d.Failed != nil {
		d.Failed(fmt.Errorf("the HTTP door failed: %w", err))
	}
}

// Addr is where the open door listens.
func (d *HTTP) Addr() string { return d.listener.Addr().String() }

// Drain implements [Door]. It turns new requests away until they stop coming, so that clients learn of it from an answer
// and not from a connection that breaks, and finishes what is under way.
func (d *HTTP) Drain(ctx context.Context) {
	d.awaitQuiet()
	if err := d.server.Shutdown(ctx); err != nil {
		d.Log.Warn().Err(err).Msg("HTTP requests were still under way")
	}
}

// Close implements [Door].
func (d *HTTP) Close() {
	d.closed.begin()
	if d.served != nil {
		_ = d.server.Close()
		<-d.served
	}
}

// awaitQuiet returns when no request has been turned away for a while: a short one where no client is connected.
func (d *HTTP) awaitQuiet() {
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
func (d *HTTP) count(c net.Conn, s http.ConnState) {
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

// route is a path of busd's own, and what answers there.
type route struct {
	path    string // as [http.ServeMux] has it
	method  string // the only one; empty for any
	needs   access.Scope
	open    string // why it needs no token; empty where it needs one
	local   bool   // needs none on loopback: monitoring on the same machine reads it
	always  bool   // is answered while busd drains, too
	page    bool   // is for people: a browser that is signed in may read it
	endless bool   // answers as long as the client stays, so that there is no answer without it
	traced  bool   // leads to asks, and is part of a trace
	started bool   // is answered only when it is known what modules want to be asked
	handler http.HandlerFunc
}

// routes are all paths of busd's own. Package webpath has them, too, so that no module can register one.
func (d *HTTP) routes() []route {
	return append(append(d.policyRoutes(), d.pageRoutes()...), []route{
		{path: "/_modulebus/v1/ask/{category}/{callback}", method: http.MethodPost, needs: access.Ask, traced: true, started: true, handler: d.ask},
		{path: "/_modulebus/v1/wants", method: http.MethodGet, needs: access.Ask, started: true, handler: d.wants},
		{path: "/_modulebus/v1/modules", method: http.MethodGet, needs: access.Read, handler: d.modules},
		{path: "/_modulebus/v1/decisions", method: http.MethodGet, needs: access.Read, handler: d.decisions},
		{path: "/_modulebus/v1/decisions/{id}", method: http.MethodGet, needs: access.Read, handler: d.decision},
		{path: "/_modulebus/v1/decisions/stream", method: http.MethodGet, needs: access.Read, endless: true, handler: d.decisionStream},
		{path: "/_modulebus/v1/modules/{module}/restart", method: http.MethodPost, needs: access.Change, handler: d.restart},
		{path: "/_modulebus/", needs: access.Read, handler: unrecognizedPath},
		{path: "/{$}", open: "says what busd is", always: true, handler: pointer},
		{path: "/", open: "nothing is there", handler: unrecognizedPath},
		{path: "/healthz", open: "balancers hold no token", always: true, handler: d.health},
		{path: "/readyz", open: "balancers hold no token; who may read gets details", always: true, handler: d.ready},
		{path: "/metrics", needs: access.Read, local: true, always: true, handler: promhttp.HandlerFor(d.Metrics, promhttp.HandlerOpts{}).ServeHTTP},
	}...)
}

// handler routes what is busd's own, and hands the rest to the modules.
func (d *HTTP) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range d.routes() {
		mux.Handle(r.path, d.guarded(r))
	}
	// Not through the mux, which redirects paths that it would write otherwise.
	modules := d.open(d.started(d.spanned("web resources", d.visitor, d.Client.Handler())))
	antispam := d.guarded(d.antispamRoute())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case ofAntispam(r.URL.Path):
			antispam.ServeHTTP(w, r)
		case own(r.URL.Path), d.isPolicy(r.URL.Path):
			mux.ServeHTTP(w, r)
		default:
			modules.ServeHTTP(w, r)
		}
	})
}

// guarded wants what the route wants, before its handler sees the request.
func (d *HTTP) guarded(r route) http.Handler {
	next := http.Handler(r.handler)
	switch {
	case r.traced && r.open != "":
		next = d.spanned(r.path, stranger, next)
	case r.traced:
		next = d.spanned(r.path, caller, next)
	}
	if r.started {
		next = d.started(next)
	}
	if r.method != "" {
		next = only(r.methods(), next)
	}
	next = d.allowed(r, next)
	if !r.always {
		next = d.open(next)
	}
	return next
}

// own reports whether a path is busd's, and no module's.
func own(path string) bool { return path == "/" || webpath.Owner(path) == "busd" }

// pointer is for people who look what is here.
func pointer(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, "text/plain; charset=utf-8", []byte(`This is busd, the bus between a Matrix homeserver and its modules.

/_modulebus/            how modules are and what is decided, for a browser
/_modulebus/v1/modules  the modules, and how they are
/_modulebus/v1/wants    what they want to be asked
/readyz  /healthz  /metrics
`))
}

func unrecognizedPath(w http.ResponseWriter, _ *http.Request) {
	newProblem(http.StatusNotFound, unrecognized, "Unrecognized request").writeTo(w)
}

// open turns requests away while busd drains.
func (d *HTTP) open(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.Life.Draining() {
			d.refused.Add(1)
			w.Header().Set("Connection", "close")
			turnAway(w, "busd is shutting down")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// started turns requests away while it is not known yet what modules want to be asked: without that, all is allowed. It
// waits a moment first, so that the usual start, which is quick, costs no client an error.
func (d *HTTP) started(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.Life.awaitBegin(r.Context()) {
			turnAway(w, "busd is starting, and its modules have not joined yet; /_modulebus/v1/modules tells of them")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func turnAway(w http.ResponseWriter, text string) {
	newProblem(http.StatusServiceUnavailable, unknown, text).writeTo(w)
}

// methods are those that the route answers: HEAD like GET, as every client may expect (RFC 9110, section 9.3.2); net/http leaves
// out the body.
func (r *route) methods() []string {
	if r.method == http.MethodGet && !r.endless {
		return []string{http.MethodGet, http.MethodHead}
	}
	return []string{r.method}
}

func only(methods []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			newProblem(http.StatusMethodNotAllowed, unrecognized, "use "+methods[0]).writeTo(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowed wants a token with the scope, if there are tokens, and no page of somebody else's behind the request: a browser on
// a machine whose busd has no tokens would do what any page wants.
func (d *HTTP) allowed(to route, next http.Handler) http.Handler {
	foreign := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := foreign.Check(r); err != nil {
			newProblem(http.StatusForbidden, matrix.Forbidden, "a page from elsewhere must not ask for this").writeTo(w)
		} else if denial := d.denies(r, to); denial != nil {
			d.deny(w, r, denial, to)
		} else {
			next.ServeHTTP(w, r)
		}
	})
}

func (d *HTTP) denies(r *http.Request, to route) *access.Denial {
	switch {
	case to.local:
		return d.Guard.DeniesDetails(r)
	case to.page && to.needs == access.Read:
		return d.Guard.DeniesPage(r)
	}
	return d.Guard.Denies(r, to.needs)
}

func (d *HTTP) deny(w http.ResponseWriter, r *http.Request, denial *access.Denial, to route) {
	if to.page {
		d.Page.Deny(w, r, denial)
		return
	}
	if denial.Status == http.StatusUnauthorized {
		access.Challenge(w.Header(), to.needs)
	}
	newProblem(denial.Status, denial.Errcode, denial.Text).writeTo(w)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := marshalPlain(v)
	if err != nil {
		newProblem(http.StatusInternalServerError, unknown, err.Error()).writeTo(w)
		return
	}
	write(w, status, wire.JSONType, body)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // It fails only when the client is gone.
}
