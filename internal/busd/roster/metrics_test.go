package roster_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modulebus/modulebus/internal/busd/roster"
)

// gauges are the values of a metric, by module.
func gauges(t *testing.T, r *roster.Roster, name string) map[string]float64 {
	t.Helper()
	metrics := prometheus.NewPedanticRegistry()
	if err := metrics.Register(roster.Collector(r)); err != nil {
		t.Fatal(err)
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				all[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return all
}

func TestMetricsTellWorkersAndWhetherAModuleIsWell(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"), listed("away"))
	deaf := join("1", createRoom)
	deaf.Unserved = map[string]string{createRoom: "permissions violation"}
	r.Join("gate", deaf, start)
	r.Join("guest", join("1", createRoom), start)
	equal(t, map[string]float64{"away": 0, "gate": 1}, gauges(t, r, "modulebus_module_workers"))
	equal(t, map[string]float64{"away": 0, "gate": 0}, gauges(t, r, "modulebus_module_well"))
	r.Join("gate", join("1", createRoom), start)
	equal(t, map[string]float64{"away": 0, "gate": 1}, gauges(t, r, "modulebus_module_well"))
}
