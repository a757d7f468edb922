package busd

import (
	"context"
	"errors"
	"reflect"
	"slices"
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

// reload applies what can be changed while busd runs: the list of modules, the budget, the evaluation and the tokens.
// After a mistake in the file, it waits for the file to change; after any other failure, it tries again.
func (d *daemon) reload(ctx context.Context, r Reload) {
	if r.Err != nil {
		d.reloads.drop()
		d.reloads.refuse(r.Err)
		d.Log.Error().Err(r.Err).Msg("the changed configuration is not good; the old one stays")
		return
	}
	if err := d.make(ctx, r.Config); err != nil {
		if d.reloads.hold(r.Config) {
			d.Log.Error().Err(err).Msg("the changed configuration cannot be taken over yet; the old one stays, and it is tried again")
		}
		d.reloads.refuse(err)
		return
	}
	d.reloads.drop()
	status := operatordoor.ConfigStatus{TakenAt: time.Now(), RestartFor: d.needsRestart(r.Config)}
	if len(status.RestartFor) > 0 {
		d.Log.Warn().Strs("keys", status.RestartFor).Msg("these keys are only read at the start: restart busd for what changed in them")
	}
	status.Changed = d.take(r.Config)
	d.reloads.note(status)
}

// tryAgain is reload of a configuration that could not be applied before.
func (d *daemon) tryAgain(ctx context.Context) {
	d.reloads.retries.Inc()
	d.reload(ctx, Reload{Config: d.reloads.held})
}

// make makes what a configuration needs and busd does not have yet, such as streams. It blocks for at most ten seconds,
// or until ctx ends.
func (d *daemon) make(ctx context.Context, c *config.Config) error {
	if err := d.news.Prepare(ctx, c.Modules); err != nil {
		return err
	}
	return d.retoken(c.HTTP)
}

// retoken replaces the tokens if their list has changed. The files of an unchanged list are read again when they
// change.
func (d *daemon) retoken(c config.HTTP) error {
	if reflect.DeepEqual(c.AllTokens(), d.config.HTTP.AllTokens()) {
		return nil
	}
	c.Listen = d.config.HTTP.Listen // It stays as it is until a restart.
	if len(c.AllTokens()) == 0 && !c.Local() {
		return errors.New("http.token_file: is missing, and other machines reach " + c.Listen + " until busd is restarted")
	}
	if err := d.guard.Configure(c); err != nil {
		return err
	}
	d.config.HTTP.TokenFile, d.config.HTTP.Tokens = c.TokenFile, c.Tokens
	return nil
}

// needsRestart returns the changed keys that are read at the start only.
func (d *daemon) needsRestart(c *config.Config) (keys []string) {
	for _, k := range []struct {
		name     string
		was, now any
	}{
		{"server_name", d.config.ServerName, c.ServerName},
		{"state_dir", d.config.StateDir, c.StateDir},
		{"nats", d.config.NATS, c.NATS},
		{"http", d.config.HTTP, c.HTTP},
		{"homeserver", d.config.Homeserver, c.Homeserver},
		{"policy_server", d.config.PolicyServer, c.PolicyServer},
	} {
		if !reflect.DeepEqual(k.was, k.now) {
			keys = append(keys, k.name)
		}
	}
	return keys
}

func (d *daemon) take(c *config.Config) *operatordoor.Changed {
	was, now := names(d.config.Modules), names(c.Modules)
	added, otherwise := without(now, was), differing(d.config.Modules, c.Modules)
	d.config.Modules, d.config.Sequential, d.config.Decisions = c.Modules, c.Sequential, c.Decisions
	d.journal.Configure(c.Decisions)
	d.readers.Configure(mayRead(c.Modules))
	d.roster.Evaluate(c.Sequential)
	d.admission.List(now, d.config.Budget)
	changed := d.roster.Configure(c.Modules, c.Budget, time.Now())
	d.news.Configure(c.Modules)
	restarted := d.modules.apply(c.Modules)
	d.config.Budget = c.Budget // Asks that began before keep the old one.
	d.service.Changed(changed)
	diff := &operatordoor.Changed{
		Added: added, Removed: without(was, now), Restarted: restarted, Changed: without(otherwise, restarted), Reordered: reordered(was, now),
	}
	d.Log.Info().Strs("added", diff.Added).Strs("removed", diff.Removed).Strs("restarted", diff.Restarted).Strs("changed", diff.Changed).
		Bool("reordered", diff.Reordered).Msg("took over the new configuration")
	return diff
}

func names(modules []config.Module) (names []string) {
	for _, m := range modules {
		names = append(names, m.Name)
	}
	return names
}

// differing names the modules that are in both lists with different entries.
func differing(was, now []config.Module) (names []string) {
	for _, m := range now {
		i := slices.IndexFunc(was, func(o config.Module) bool { return o.Name == m.Name })
		if i >= 0 && !reflect.DeepEqual(was[i], m) {
			names = append(names, m.Name)
		}
	}
	return names
}

// reordered reports whether the modules of both lists are in another order.
func reordered(was, now []string) bool {
	return !slices.Equal(without(was, without(was, now)), without(now, without(now, was)))
}

// without returns the items of list that are not in other.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(other, name) })
}
