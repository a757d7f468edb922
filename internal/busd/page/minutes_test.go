package page

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// counting are the metrics that charts are made of.
type counting struct {
	*prometheus.Registry
	answers  *prometheus.HistogramVec
	failures *prometheus.CounterVec
}

func newCounting() *counting {
	c := &counting{
		prometheus.NewRegistry(),
		prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: answersMetric, Buckets: []float64{.01, .1, 1}}, []string{"callback", "module"}),
		prometheus.NewCounterVec(prometheus.CounterOpts{Name: failuresMetric}, []string{"callback", "module", "failure"}),
	}
	c.MustRegister(c.answers, c.failures)
	return c
}

func (c *counting) answered(module, callback string, seconds float64) {
	c.answers.WithLabelValues(callback, module).Observe(seconds)
}

func TestMinutesCountWhatWasAdded(t *testing.T) {
	t.Parallel()
	c, m := newCounting(), newMinutes()
	c.answered("gate", "a", .05)
	m.take(c, zerolog.Nop()) // What was before is not of the last minutes.
	for range 98 {
		c.answered("gate", "a", .005)
	}
	c.answered("gate", "b", .05)
	c.answered("gate", "b", .5)
	c.failures.WithLabelValues("a", "gate", "timeout").Add(2)
	c.failures.WithLabelValues("b", "gate", "error").Inc()
	c.answered("late", "a", 7)
	m.take(c, zerolog.Nop())
	m.take(c, zerolog.Nop())
	about := cmpopts.EquateApprox(0, 1e-9)
	want := []column{{Answers: 100, Failures: 3, Seconds: 98*.005 + .55, Slowest: .1}, {}}
	if diff := cmp.Diff(want, m.last("gate"), about); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]column{{Answers: 1, Seconds: 7, Slowest: 1, Slower: true}, {}}, m.last("late"), about); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := m.last("nobody"); len(got) != 0 {
		t.Errorf("of nobody: %v", got)
	}
}

func TestMinutesAreBounded(t *testing.T) {
	t.Parallel()
	m := newMinutes()
	for i := range columns + 10 {
		m.add(map[string]*total{"gate": {answers: uint64(i * i)}})
	}
	all := m.last("gate")
	if last := uint64(columns + 9); len(all) != columns || all[columns-1].Answers != last*last-(last-1)*(last-1) {
		t.Errorf("%d columns, the last %+v", len(all), all[len(all)-1])
	}
}

func TestChartShowsAColumnForEachStep(t *testing.T) {
	t.Parallel()
	past := []column{{Answers: 1, Seconds: .001, Slowest: .005}, {}, {Answers: 3, Failures: 1, Seconds: .011, Slowest: .010}}
	all := charts("gate", past)
	if got := all[0]; got.Path != "M87 24v-12.0h1v12.0zM89 24v-24.0h1v24.0z" || got.Text != "4 answers, 3.0 ms on average, 99 of 100 within 10 ms" {
		t.Errorf("latency: %+v", got)
	}
	if got := charts("gate", append(past, column{Answers: 1, Seconds: 7, Slowest: 5, Slower: true}))[0]; !strings.HasSuffix(got.Text, ", some took more than 5000 ms") {
		t.Errorf("slower than the metric can tell: %+v", got)
	}
	if got := all[1]; got.Path != "M89 24v-24.0h1v24.0z" || got.Text != "1 failure" {
		t.Errorf("failures: %+v", got)
	}
	if got := charts("gate", nil); got[0].Text != "no answers" || got[0].Path != "" {
		t.Errorf("without anything: %+v", got)
	}
}
