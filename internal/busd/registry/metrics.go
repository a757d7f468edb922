package registry

import "github.com/prometheus/client_golang/prometheus"

var (
	workersDesc  = prometheus.NewDesc("modulebus_module_workers", "Workers of a module that have joined.", []string{"module"}, nil)
	wellDesc     = prometheus.NewDesc("modulebus_module_well", "Whether a module can do what it is for: 1, or 0.", []string{"module"}, nil)
	othersDesc   = prometheus.NewDesc("modulebus_other_busd", "Other busd on this NATS, by whether their list is the same.", []string{"list"}, nil)
	revisionDesc = prometheus.NewDesc("modulebus_roster_revision", "Revision of the roster.", nil, nil)
)

// Collector returns metrics of the registry: how many workers each listed module has and whether it is well, and the
// roster's revision.
func Collector(r *Registry) prometheus.Collector { return collector{r} }

type collector struct{ registry *Registry }

// Describe implements [prometheus.Collector].
func (c collector) Describe(out chan<- *prometheus.Desc) {
	out <- workersDesc
	out <- wellDesc
	out <- revisionDesc
	out <- othersDesc
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, m := range c.registry.Modules() {
		if m.State != Unlisted {
			out <- prometheus.MustNewConstMetric(workersDesc, prometheus.GaugeValue, float64(m.Workers), m.Name)
			out <- prometheus.MustNewConstMetric(wellDesc, prometheus.GaugeValue, number(m.Well()), m.Name)
		}
	}
	out <- prometheus.MustNewConstMetric(revisionDesc, prometheus.GaugeValue, float64(c.registry.Roster().GetRevision()))
	others := c.registry.Others()
	out <- prometheus.MustNewConstMetric(othersDesc, prometheus.GaugeValue, float64(others.Same), "same")
	out <- prometheus.MustNewConstMetric(othersDesc, prometheus.GaugeValue, float64(len(others.Differing)), "other")
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
