//go:build integration

package synapse_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestAskIsPartOfTheTraceOfSynapsesRequest has a real Synapse trace with Jaeger's library, which writes each span that it reports into
// Synapse's log, and looks for the trace in busd's record of the ask.
func TestAskIsPartOfTheTraceOfSynapsesRequest(t *testing.T) {
	t.Parallel()
	library := os.Getenv("MODULEBUS_JAEGER")
	if library == "" {
		t.Skip("make traced installs Jaeger's library for Synapse, and runs this")
	}
	g := &gate{stage: &stage{s: prepareSynapse(t)}, port: testbed.FreePort(t)}
	g.files(t)
	g.says(t, nil)
	g.restart(t)
	g.s.env = []string{"PYTHONPATH=" + pythonPath(t) + ":" + library}
	g.s.configure(t, fmt.Sprintf("\n  - module: modulebus_synapse.ModuleBus\n    config: {url: %q}", g.d.URL),
		"opentracing: {enabled: true, jaeger_config: {sampler: {type: const, param: 1}, logging: true}}")
	g.s.start(t)
	g.alice = g.s.register(t, "alice", false)
	g.wants(t, "a room that is refused", refusedByModule, g.create(t, "refused"))

	_, list := g.d.Request(http.MethodGet, "/_modulebus/v1/decisions?outcome=refused&limit=1", nil)
	var found struct {
		Decisions []struct {
			TraceID string `json:"trace_id"`
		}
	}
	if err := json.Unmarshal(list, &found); err != nil || len(found.Decisions) != 1 || found.Decisions[0].TraceID == "" {
		t.Fatalf("%v: %s", err, list)
	}
	reported := "Reporting span " + strings.TrimLeft(found.Decisions[0].TraceID, "0") + ":"
	testbed.Eventually(t, "Synapse reports a span of the trace "+found.Decisions[0].TraceID, func() bool {
		return strings.Contains(g.s.log.String(), reported)
	})
}
