package page

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
)

const (
	// step is the time that one column of a chart stands for.
	step = 10 * time.Second

	// columns is how many there are: a quarter of an hour.
	columns = 90

	answersMetric  = "modulebus_module_answer_seconds"
	failuresMetric = "modulebus_module_failures_total"
)

// column is what a module did in one step.
type column struct {
	Answers, Failures uint64
	Seconds           float64 // sum of the times of all answers
	Slowest           float64 // seconds within which 99 of 100 answers came: a bound of the metric's buckets
	Slower            bool    // they took longer than Slowest, the metric's last bound
}

// total is what a module has done since busd started.
type total struct {
	answers, failures uint64
	seconds           float64
	buckets           []bucket
}

// bucket counts the answers that took no longer than so many seconds.
type bucket struct {
	bound float64
	count uint64
}

// minutes holds the last columns of each module in the metrics, which are those that have been asked since busd
// started. Its methods may be called concurrently.
type minutes struct {
	mu     sync.Mutex
	totals map[string]*total // nil before the first look
	past   map[string][]column
}

func newMinutes() *minutes { return &minutes{past: map[string][]column{}} }

// take reads the metrics, and makes a column of the difference.
func (m *minutes) take(metrics prometheus.Gatherer, log zerolog.Logger) {
	families, err := metrics.Gather()
	if err != nil {
		log.Debug().Err(err).Msg("some metrics are missing in the charts") // The others are used all the same.
	}
	m.add(totalsOf(families))
}

// last returns the columns of a module, the newest last.
func (m *minutes) last(module string) []column {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]column(nil), m.past[module]...)
}

func (m *minutes) add(totals map[string]*total) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.totals != nil {
		for name, now := range totals {
			m.past[name] = append(m.past[name][max(0, len(m.past[name])+1-columns):], now.since(m.totals[name]))
		}
	}
	m.totals = totals
}

// since returns the difference to an earlier total.
func (t *total) since(before *total) column {
	if before == nil {
		before = &total{}
	}
	c := column{Answers: t.answers - before.answers, Failures: t.failures - before.failures, Seconds: t.seconds - before.seconds}
	if c.Answers > 0 {
		c.Slowest, c.Slower = t.slowest(before, c.Answers)
	}
	return c
}

// slowest returns the bound within which 99 of 100 of the added answers came; or the last bound, and that they were
// slower.
func (t *total) slowest(before *total, answers uint64) (bound float64, slower bool) {
	for i, b := range t.buckets {
		count := b.count
		if i < len(before.buckets) {
			count -= before.buckets[i].count
		}
		if bound = b.bound; count*100 >= answers*99 {
			return bound, false
		}
	}
	return bound, true
}

// totalsOf adds up the metrics of each module's callbacks.
func totalsOf(families []*dto.MetricFamily) map[string]*total {
	all := map[string]*total{}
	for _, f := range families {
		if f.GetName() != answersMetric && f.GetName() != failuresMetric {
			continue
		}
		for _, metric := range f.GetMetric() {
			name := moduleOf(metric)
			if all[name] == nil {
				all[name] = &total{}
			}
			all[name].count(metric)
		}
	}
	return all
}

func (t *total) count(m *dto.Metric) {
	t.failures += uint64(m.GetCounter().GetValue())
	h := m.GetHistogram()
	t.answers += h.GetSampleCount()
	t.seconds += h.GetSampleSum()
	if t.buckets == nil && h != nil {
		t.buckets = make([]bucket, len(h.GetBucket()))
	}
	for i, b := range h.GetBucket() {
		t.buckets[i].bound = b.GetUpperBound()
		t.buckets[i].count += b.GetCumulativeCount()
	}
}

func moduleOf(m *dto.Metric) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == "module" {
			return l.GetValue()
		}
	}
	return ""
}
