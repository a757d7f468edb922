// Package operatordoor serves operators and their tools: the state of modules, decisions, health, metrics, and
// restarting a module.
package operatordoor

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/webpath"
)

// Options configure the door. All but Trouble are required.
type Options struct {
	Client  *bus.Client
	Roster  *roster.Roster
	Metrics prometheus.Gatherer

	// Processes are the processes of modules that busd runs.
	Processes Processes

	// Records has the records of decisions.
	Records *records.Recorder

	// ConfigStatus says whether what runs is what the configuration file says.
	ConfigStatus func() ConfigStatus

	Life *door.Life

	// Guard says who may do what.
	Guard *access.Guard

	// Alive reports whether busd can do its work.
	Alive func() bool

	// Trouble returns what is wrong with NATS although it can be reached; empty if nothing is. Default: nothing.
	Trouble func() string
}

// Door is for operators. It implements [door.Served].
type Door struct {
	door.Stateless
	Options

	lookups chan struct{} // holds one entry for each request for records that is under way
}

// New returns the door.
func New(o Options) *Door { return &Door{Options: o, lookups: make(chan struct{}, maxLookups)} }

// Routes implements [door.Served].
func (d *Door) Routes() []door.Route {
	metrics := promhttp.HandlerFor(d.Metrics, promhttp.HandlerOpts{})
	return []door.Route{
		{In: webpath.Bus, Path: "/v1/modules", Method: http.MethodGet, Needs: access.Read, Handler: d.modules},
		{In: webpath.Bus, Path: "/v1/modules/{module}/restart", Method: http.MethodPost, Needs: access.Change, Handler: d.restart},
		{In: webpath.Bus, Path: "/v1/decisions", Method: http.MethodGet, Needs: access.Read, Handler: d.oneOfFew(d.decisions)},
		{In: webpath.Bus, Path: "/v1/decisions/{id}", Method: http.MethodGet, Needs: access.Read, Handler: d.oneOfFew(d.decision)},
		{In: webpath.Bus, Path: "/v1/decisions/stream", Method: http.MethodGet, Needs: access.Read, Endless: true, Handler: d.decisionStream},
		{In: webpath.Healthz, Open: "balancers hold no token", Always: true, Handler: d.health},
		{In: webpath.Readyz, Open: "balancers hold no token; who may read gets details", Always: true, Handler: d.ready},
		{In: webpath.Metrics, Needs: access.Read, Local: true, Always: true, Handler: metrics.ServeHTTP},
	}
}
