package page_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/busd/page"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	benchModules = 200
	benchRate    = 50 // decisions a second
	benchTime    = time.Minute
)

// BenchmarkPageOfManyModules is what the page costs with 200 modules and 50 decisions a second while browsers follow, in percent of
// one core: all of this process, so that what the browsers' side reads and what makes the decisions is in it, too. Each module answers
// something in each step of the charts, so that all are drawn anew.
func BenchmarkPageOfManyModules(b *testing.B) {
	for _, viewers := range []int{0, 1, 5} {
		b.Run(fmt.Sprintf("viewers=%d", viewers), func(b *testing.B) {
			m := newMany(b)
			server := httptest.NewServer(m.handler)
			b.Cleanup(server.Close) // When the browsers have gone.
			for range viewers {
				m.follow(b, server.URL)
			}
			for b.Loop() {
				before := used(b)
				m.decide(benchTime)
				b.ReportMetric(100*(used(b)-before).Seconds()/benchTime.Seconds(), "%core")
			}
		})
	}
}

// many are the parts of a busd with many modules that the page looks at.
type many struct {
	handler  http.Handler // of the page
	decided  func(module, failure string)
	answers  *prometheus.HistogramVec
	failures *prometheus.CounterVec
}

func newMany(b *testing.B) *many {
	b.Helper()
	list, names := roster.New(), []config.Module{}
	for i := range benchModules {
		names = append(names, config.Module{Name: fmt.Sprintf("module-%d", i), Timeout: time.Second})
	}
	list.Configure(names, time.Second, time.Now())
	callbacks := []string{"spam_checker.user_may_create_room", "spam_checker.user_may_invite", "third_party_rules.on_new_event"}
	for _, m := range names {
		list.Join(m.Name, &rosterv1.Join{Worker: "1", Callbacks: callbacks, Version: "1.0.0"}, time.Now())
	}
	guard, err := access.NewGuard("example.com", config.HTTP{Listen: "127.0.0.1:1"}, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	m := &many{
		answers: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modulebus_module_answer_seconds", Help: "As it says.", Buckets: prometheus.ExponentialBuckets(.0001, 2.2, 16),
		}, []string{"callback", "module"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "modulebus_module_failures_total", Help: "As it says."},
			[]string{"callback", "module", "failure", "policy"}),
	}
	metrics.MustRegister(m.answers, m.failures, roster.Collector(list))
	kept := records.New()
	m.decided = (&busd{records: kept}).decided
	p := page.New(page.Options{
		ServerName: "example.com", Records: kept, Metrics: metrics, Guard: guard, Life: door.NewLife(), Log: zerolog.Nop(),
		Modules: func() (all []operatordoor.ModuleStatus) {
			for _, s := range list.Modules() {
				all = append(all, operatordoor.ModuleStatus{Status: s, Processes: []operatordoor.Process{{Worker: "1", PID: 1}}})
			}
			return all
		},
		Config: func() operatordoor.ConfigStatus { return operatordoor.ConfigStatus{} },
	})
	m.handler = opened(b, p)
	return m
}

// decide makes decisions for a while, at an even pace.
func (m *many) decide(d time.Duration) {
	ticker := time.NewTicker(time.Second / benchRate)
	defer ticker.Stop()
	for i := range int(d.Seconds()) * benchRate {
		<-ticker.C
		m.decided(fmt.Sprintf("module-%d", i%benchModules), []string{"", "away"}[i%2])
		for n := range 10 { // of the modules that are asked
			module := fmt.Sprintf("module-%d", (i*10+n)%benchModules)
			m.answers.WithLabelValues("user_may_create_room", module).Observe(.001 * float64(n+1))
		}
		m.failures.WithLabelValues("user_may_invite", fmt.Sprintf("module-%d", i%benchModules), "timeout", "skip").Inc()
	}
}

// follow is a browser that takes what it is sent.
func (m *many) follow(b *testing.B, url string) {
	b.Helper()
	rsp, err := http.Get(url + "/_modulebus/live")
	if err != nil {
		b.Fatal(err)
	}
	read := make(chan struct{})
	b.Cleanup(func() { rsp.Body.Close(); <-read })
	lines := bufio.NewScanner(rsp.Body)
	lines.Buffer(nil, 1<<22)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "event: ") {
		b.Fatalf("the stream begins with %q", lines.Text())
	}
	go func() {
		defer close(read)
		for lines.Scan() { // It only reads.
		}
	}()
}

// used is the processor time of this process so far.
func used(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
