package busd

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
)

// Reload is a configuration that was read while busd runs, or the error of reading it.
type Reload struct {
	Config *config.Config
	Err    error
}

// A valid configuration that cannot be applied yet is tried again after retryFirst, and then after twice as long each
// time, up to retryRarest.
const (
	retryFirst  = time.Second
	retryRarest = time.Minute
)

// reloads remembers whether the running configuration is the file's. All fields but last are used by the daemon's own
// goroutine only.
type reloads struct {
	last      atomic.Pointer[operatordoor.ConfigStatus]
	succeeded prometheus.Gauge
	taken     prometheus.Gauge
	stale     prometheus.Gauge
	retries   prometheus.Counter

	held  *config.Config // the configuration that is tried again; nil for none
	pause time.Duration  // until it is tried again
	retry <-chan time.Time
}

func newReloads(metrics prometheus.Registerer) *reloads {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "modulebus", Name: name, Help: help})
		metrics.MustRegister(g)
		return g
	}
	r := &reloads{
		succeeded: gauge("config_last_reload_successful", "Whether the configuration file was good when it was read last."),
		taken:     gauge("config_last_reload_success_timestamp_seconds", "When a configuration was last taken over."),
		stale:     gauge("config_restart_needed", "Whether the configuration has changes that only a restart takes over."),
	}
	r.retries = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "modulebus", Name: "config_reload_retries_total",
		Help: "How often a changed configuration was tried again because it could not be taken over when it was read.",
	})
	metrics.MustRegister(r.retries)
	r.note(operatordoor.ConfigStatus{TakenAt: time.Now()})
	return r
}

// refuse notes why a changed configuration is not used.
func (r *reloads) refuse(why error) {
	s := r.Status()
	s.Error, s.RefusedAt, s.RetryAt = why.Error(), time.Now(), time.Time{}
	if r.held != nil {
		s.RetryAt = s.RefusedAt.Add(r.pause)
	}
	r.note(s)
}

// hold makes a configuration be tried again after a pause, which grows each time. It reports whether it is another one
// than before.
func (r *reloads) hold(c *config.Config) (another bool) {
	another = r.held != c
	r.held, r.pause = c, min(2*r.pause, retryRarest)
	if another {
		r.pause = retryFirst
	}
	r.retry = time.After(r.pause)
	return another
}

// drop ends the retries.
func (r *reloads) drop() { r.held, r.retry = nil, nil }

// Status returns the state of the last reload.
func (r *reloads) Status() operatordoor.ConfigStatus { return *r.last.Load() }

func (r *reloads) note(s operatordoor.ConfigStatus) {
	r.last.Store(&s)
	r.succeeded.Set(truth(s.Error == ""))
	r.taken.Set(float64(s.TakenAt.UnixMilli()) / 1000)
	r.stale.Set(truth(len(s.RestartFor) > 0))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
