package bus

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
)

// webMetrics count requests for web resources. Labels are modules, the paths they registered, statuses, and closed sets.
type webMetrics struct {
	registerer prometheus.Registerer
	requests   *prometheus.CounterVec // module, resource, status, outcome
	retries    prometheus.Counter
	fast       *prometheus.CounterVec   // module
	accept     *prometheus.HistogramVec // module
	firstByte  *prometheus.HistogramVec // module
}

func newWebMetrics(r prometheus.Registerer) *webMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		opts := prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}
		return prometheus.NewHistogramVec(opts, []string{"module"})
	}
	return &webMetrics{
		registerer: r,
		requests: counter("web_requests_total", "Requests for modules' web resources, by what came of them.",
			"module", "resource", "status", "outcome"),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "web_retries_total", Help: "Times that another worker was asked.",
		}),
		fast:      counter("web_fast_total", "Requests that took one message each way.", "module"),
		accept:    histogram("web_accept_seconds", "Time until a worker was heard of."),
		firstByte: histogram("web_first_byte_seconds", "Time until the response began."),
	}
}

func (m *webMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.retries, m.fast, m.accept, m.firstByte}
}

// done counts one request.
func (m *webMetrics) done(r *gateway.Report) {
	module := r.To.Module
	m.requests.WithLabelValues(module, r.To.Path, strconv.Itoa(r.Status), string(r.Outcome)).Inc()
	m.retries.Add(float64(r.Retries))
	if r.Fast {
		m.fast.WithLabelValues(module).Inc()
	}
	observe(m.accept, module, r.Accept)
	observe(m.firstByte, module, r.FirstByte)
}

func observe(h *prometheus.HistogramVec, module string, d time.Duration) {
	if d > 0 {
		h.WithLabelValues(module).Observe(d.Seconds())
	}
}

// watch registers the metrics that the gateway counts itself. Metrics that are registered already stay.
func (m *webMetrics) watch(w *web) {
	if m.registerer == nil {
		return
	}
	s := w.gateway.Stats()
	m.both("web_stream_bytes_total", "Bytes of frames.", s.BytesIn.Load, s.BytesOut.Load)
	m.both("web_stream_frames_total", "Frames.", s.FramesIn.Load, s.FramesOut.Load)
	for c := frame.CodeMalformed; c <= frame.CodeLeft; c++ {
		for direction, load := range map[string]func(frame.Code) int64{"in": s.ResetsIn.Load, "out": s.ResetsOut.Load} {
			labels := prometheus.Labels{"direction": direction, "code": c.String()}
			m.counter("web_resets_total", "Streams that were reset, by reason.", labels, func() float64 { return float64(load(c)) })
		}
	}
	wait := func() float64 { return time.Duration(s.CreditWait.Load()).Seconds() }
	m.counter("web_credit_wait_seconds_total", "Time spent waiting for workers to take request bodies.", nil, wait)
	dropped := func() float64 { return float64(w.dropped()) }
	m.counter("web_slow_consumer_total", "Messages that the client library dropped; must stay 0.", nil, dropped)
	m.gauge("web_streams", "Requests and upgraded connections under way.", s.Open.Load)
	m.gauge("web_credit_bytes", "What workers may send at once, at most.", func() int64 { _, credit := w.gateway.Lent(); return credit })
}

func (m *webMetrics) both(name, help string, in, out func() int64) {
	m.counter(name, help, prometheus.Labels{"direction": "in"}, func() float64 { return float64(in()) })
	m.counter(name, help, prometheus.Labels{"direction": "out"}, func() float64 { return float64(out()) })
}

// counter registers a counter. If another client with the same registerer has one, that one stays.
func (m *webMetrics) counter(name, help string, labels prometheus.Labels, load func() float64) {
	o := prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}
	_ = m.registerer.Register(prometheus.NewCounterFunc(o, load)) // As said above.
}

func (m *webMetrics) gauge(name, help string, load func() int64) {
	o := prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}
	_ = m.registerer.Register(prometheus.NewGaugeFunc(o, func() float64 { return float64(load()) })) // As for counters.
}
