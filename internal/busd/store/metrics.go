package store

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// healthTime is how long JetStream may take to report its state. Beyond: it counts as down.
const healthTime = time.Second

var (
	connectedDesc = prometheus.NewDesc("modulebus_nats_connected", "Whether busd is connected to NATS.", nil, nil)
	upDesc        = prometheus.NewDesc("modulebus_jetstream_up", "Whether JetStream, which has what modules store, answers.", nil, nil)
	bytesDesc     = prometheus.NewDesc("modulebus_jetstream_bytes", "What streams and stores of the bus take on disk.", nil, nil)
)

// Collector returns metrics of NATS and of JetStream. Each time that it is asked, it asks JetStream, for a second at most.
func Collector(nc *nats.Conn) prometheus.Collector { return collector{nc} }

type collector struct{ nc *nats.Conn }

// Describe implements [prometheus.Collector].
func (c collector) Describe(out chan<- *prometheus.Desc) {
	out <- connectedDesc
	out <- upDesc
	out <- bytesDesc
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(out chan<- prometheus.Metric) {
	up, bytes := 0.0, 0.0
	if info := c.account(); info != nil {
		up, bytes = 1, float64(info.Store)
	}
	connected := 0.0
	if c.nc.IsConnected() {
		connected = 1
	}
	out <- prometheus.MustNewConstMetric(connectedDesc, prometheus.GaugeValue, connected)
	out <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, up)
	out <- prometheus.MustNewConstMetric(bytesDesc, prometheus.GaugeValue, bytes)
}

// account returns JetStream's information on the account of the bus; nil if it does not answer.
func (c collector) account() *jetstream.AccountInfo {
	js, err := jetstream.New(c.nc)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthTime)
	defer cancel()
	info, err := js.AccountInfo(ctx)
	if err != nil {
		return nil
	}
	return info
}
