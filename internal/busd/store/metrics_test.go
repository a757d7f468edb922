package store_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modulebus/modulebus/internal/busd/store"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
)

// gauges returns the metrics of a connection, by name.
func gauges(t *testing.T, nc *nats.Conn) map[string]float64 {
	t.Helper()
	return gaugesOf(t, store.Collector(nc))
}

func gaugesOf(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		values[family.GetName()] = family.GetMetric()[0].GetGauge().GetValue()
	}
	return values
}

func TestCollectorShowsWhatStoresTake(t *testing.T) {
	t.Parallel()
	s := serve(t, withJetStream(t), true)
	waittest.Until(t, "JetStream to answer in time", func() bool { return gauges(t, s.module)["modulebus_jetstream_up"] == 1 })
	s.put("key", "value")
	waittest.Until(t, "the store's bytes to show", func() bool {
		got := gauges(t, s.module)
		return got["modulebus_nats_connected"] == 1 && got["modulebus_jetstream_bytes"] > 0
	})
}

func TestCollectorShowsJetStreamThatIsNotThere(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.InProcess(t))
	if got := gauges(t, nc); got["modulebus_jetstream_up"] != 0 || got["modulebus_nats_connected"] != 1 {
		t.Errorf("without JetStream: %v", got)
	}
	nc.Close()
	if got := gauges(t, nc); got["modulebus_jetstream_up"] != 0 || got["modulebus_nats_connected"] != 0 || len(got) != 3 {
		t.Errorf("without NATS: %v", got)
	}
}
