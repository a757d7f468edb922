package news

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	waitingDesc = describe("modulebus_news_waiting", "News that is kept for a module until it has handled it.")
	oldestDesc  = describe("modulebus_news_oldest_seconds", "How long the oldest of it has been kept.")
	handledDesc = describe("modulebus_news_handled_total", "News that a module was told by this busd, and has handled.")
	givenUpDesc = describe("modulebus_news_given_up_total", "News that became older than deliver_for, and is told no more.")
)

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, []string{"module"}, nil)
}

// Collector returns metrics of the news that is kept for modules.
func Collector(s *Service) prometheus.Collector { return collector{s} }

type collector struct{ service *Service }

// Describe implements [prometheus.Collector].
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{waitingDesc, oldestDesc, handledDesc, givenUpDesc} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(out chan<- prometheus.Metric) {
	now := time.Now()
	for module, b := range c.service.Backlogs() {
		out <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(b.News), module)
		out <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, b.age(now).Seconds(), module)
		out <- prometheus.MustNewConstMetric(handledDesc, prometheus.CounterValue, float64(b.Handled), module)
		out <- prometheus.MustNewConstMetric(givenUpDesc, prometheus.CounterValue, float64(b.GivenUp), module)
	}
}

func (b *Backlog) age(now time.Time) time.Duration {
	if b.Oldest.IsZero() {
		return 0
	}
	return now.Sub(b.Oldest)
}
