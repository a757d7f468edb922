package bus

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// metrics count asks. Labels are callbacks, modules and closed sets; never a user or a room.
type metrics struct {
	asks      *prometheus.CounterVec   // callback, outcome
	decisions *prometheus.CounterVec   // callback, module, outcome
	seconds   *prometheus.HistogramVec // callback
	answers   *prometheus.HistogramVec // callback, module
	failures  *prometheus.CounterVec   // callback, module, failure, policy
	hedges    *prometheus.CounterVec   // callback, module

	unshadowed prometheus.Counter
	untaken    prometheus.Counter // calls of the Module API
	web        *webMetrics
}

// namespace begins the name of each metric.
const namespace = "modulebus"

var buckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		opts := prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}
		return prometheus.NewHistogramVec(opts, labels)
	}
	m := &metrics{
		asks: counter("asks_total", "Asks that went to modules, by what came of them.", "callback", "outcome"),
		decisions: counter("decisions_total", "Asks that went to modules, by what came of them and the module that decided, if it was one.",
			"callback", "module", "outcome"),
		seconds:  histogram("ask_seconds", "Time until the decision.", "callback"),
		answers:  histogram("module_answer_seconds", "Time until a module's answer.", "callback", "module"),
		failures: counter("module_failures_total", "Failures of modules, and what became of them.", "callback", "module", "failure", "policy"),
		hedges:   counter("hedged_requests_total", "Second requests to a module whose first worker took long.", "callback", "module"),
		web:      newWebMetrics(r),
	}
	count := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	}
	m.unshadowed = count("shadow_asks_lost_total", "Asks that modules in shadow were not asked, because too many were under way.")
	m.untaken = count("module_api_calls_not_taken_total", "Calls of the Module API that were answered 429, because too many were under way.")
	if r == nil {
		return m, nil
	}
	var errs []error
	for _, c := range append(m.web.collectors(), m.asks, m.decisions, m.seconds, m.answers, m.failures, m.hedges, m.unshadowed, m.untaken) {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

// callbackMetrics are those of one callback.
type callbackMetrics struct {
	outcomes [len(outcomes)]prometheus.Counter
	nobodys  [len(outcomes)]prometheus.Counter // decisions of no one module
	seconds  prometheus.Observer
}

// outcomes are all outcomes, the most frequent first. A list this short is searched in less time than a table.
var outcomes = [...]Outcome{OutcomeNoOpinion, OutcomeRefused, OutcomeAnswered, OutcomeFailed, OutcomeCancelled}

func placeOf(o Outcome) int { return slices.Index(outcomes[:], o) }

func (m *metrics) callback(d *subjects.Declaration) *callbackMetrics {
	all := &callbackMetrics{seconds: m.seconds.WithLabelValues(d.Name)}
	for i, o := range outcomes {
		all.outcomes[i] = m.asks.WithLabelValues(d.Name, string(o))
		all.nobodys[i] = m.decisions.WithLabelValues(d.Name, "", string(o))
	}
	return all
}

func (m *callbackMetrics) asked(o Outcome, took time.Duration) {
	m.seconds.Observe(took.Seconds())
	m.outcomes[placeOf(o)].Inc()
}

// moduleMetrics are those of one callback of one module. They are made at the first use: a module that has never joined might want
// any callback, and there are many.
type moduleMetrics struct{ made func() *moduleCounters }

type moduleCounters struct {
	seconds  prometheus.Observer
	hedged   prometheus.Counter
	failures *prometheus.CounterVec // failure, policy
	decided  map[Outcome]prometheus.Counter
}

func (m *metrics) module(d *subjects.Declaration, module string) moduleMetrics {
	return moduleMetrics{sync.OnceValue(func() *moduleCounters {
		failures := m.failures.MustCurryWith(prometheus.Labels{"callback": d.Name, "module": module})
		decided := map[Outcome]prometheus.Counter{}
		for _, o := range []Outcome{OutcomeAnswered, OutcomeRefused, OutcomeFailed} {
			decided[o] = m.decisions.WithLabelValues(d.Name, module, string(o))
		}
		return &moduleCounters{m.answers.WithLabelValues(d.Name, module), m.hedges.WithLabelValues(d.Name, module), failures, decided}
	})}
}

func (m moduleMetrics) answered(took time.Duration) { m.made().seconds.Observe(took.Seconds()) }

func (m moduleMetrics) hedged() { m.made().hedged.Inc() }

func (m moduleMetrics) failed(k rosterv1.FailureKind, p callbacksv1.OnFailure) {
	m.made().failures.WithLabelValues(wire.KindName(k), strings.ToLower(p.String())).Inc()
}

// decided counts a decision, and reports whether it is of a kind that one module makes.
func (m moduleMetrics) decided(o Outcome) bool {
	c := m.made().decided[o]
	if c != nil {
		c.Inc()
	}
	return c != nil
}
