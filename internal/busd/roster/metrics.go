package roster

import "github.com/prometheus/client_golang/prometheus"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("modulebus_"+name, help, labels, nil)
}

var (
	workersDesc  = desc("module_workers", "Workers of a module that have joined.", "module")
	wantedDesc   = desc("module_workers_wanted", "Workers that busd runs of a module; 0 of one that runs elsewhere.", "module")
	restartsDesc = desc("module_restarts_total", "Processes of a module that ended without being asked to and were started again.", "module")
	wellDesc     = desc("module_well", "Whether a module can do what it is for: 1, or 0.", "module")
	breakerDesc  = desc("module_breaker_open", "Whether a module is left alone for a while, because it did not answer in time.", "module", "callback")
	othersDesc   = desc("other_busd", "Other busd on this NATS, by whether their list is the same.", "list")
	revisionDesc = desc("roster_revision", "Revision of the roster.")
)

// Collector returns metrics of the roster: of each listed module how many workers it has and should have, how often they ended,
// whether it is well and what its breakers are; and the roster's revision.
func Collector(r *Roster) prometheus.Collector { return collector{r} }

type collector struct{ roster *Roster }

// Describe implements [prometheus.Collector].
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{workersDesc, wantedDesc, restartsDesc, wellDesc, breakerDesc, othersDesc, revisionDesc} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, m := range c.roster.Modules() {
		if m.State != Unlisted {
			m.collect(out)
		}
	}
	out <- prometheus.MustNewConstMetric(revisionDesc, prometheus.GaugeValue, float64(c.roster.Snapshot().GetRevision()))
	others := c.roster.Others()
	out <- prometheus.MustNewConstMetric(othersDesc, prometheus.GaugeValue, float64(others.Same), "same")
	out <- prometheus.MustNewConstMetric(othersDesc, prometheus.GaugeValue, float64(len(others.Differing)), "other")
}

func (s *Status) collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, append([]string{s.Name}, labels...)...)
	}
	gauge(workersDesc, float64(s.Workers))
	gauge(wellDesc, number(s.Well()))
	gauge(wantedDesc, float64(s.Processes))
	out <- prometheus.MustNewConstMetric(restartsDesc, prometheus.CounterValue, float64(s.Restarts), s.Name)
	open := map[string]bool{}
	for _, f := range s.Failing {
		open[f.Callback] = f.Open
	}
	for _, callback := range s.Callbacks {
		gauge(breakerDesc, number(open[callback]), callback)
	}
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
