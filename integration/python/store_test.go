//go:build integration

package python_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// storing is busd with two workers of a module that stores and leads.
type storing struct{ *testbed.Daemon }

// sight is what a worker sees of the store.
type sight struct {
	Worker  string
	Keys    []string
	History []*string
	Watched map[string]*string
}

func startStoring(t *testing.T) storing {
	t.Helper()
	d := testbed.Serve(t, fmt.Sprintf(`
modules:
  - module: storing
    run: [env, "PYTHONPATH=%s", %s, %s]
    workers: 2
`, absolute(t, "bridges/python"), testbed.Python(t), absolute(t, "integration/python/testdata/storing.py")))
	testbed.Eventually(t, "both workers have joined", func() bool { return workers(d) == 2 })
	return storing{d}
}

func (s storing) put(t *testing.T, query string) string {
	t.Helper()
	_, out := s.Request(http.MethodGet, "/_synapse/client/storing/put?"+query, nil)
	return strings.TrimSpace(string(out))
}

// see is what one of the workers sees.
func (s storing) see(t *testing.T) (seen sight) {
	t.Helper()
	_, out := s.Request(http.MethodGet, "/_synapse/client/storing/see", nil)
	if err := json.Unmarshal(out, &seen); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return seen
}

// everybodySees waits until each worker was seen to see it.
func (s storing) everybodySees(t *testing.T, what string, holds func(sight) bool) {
	t.Helper()
	seen := map[string]bool{}
	testbed.Eventually(t, what, func() bool {
		if one := s.see(t); holds(one) {
			seen[one.Worker] = true
		}
		return len(seen) == 2
	})
}

func TestWorkersShareAStore(t *testing.T) {
	t.Parallel()
	s := startStoring(t)
	first := s.put(t, "key=a.b&value=one")
	if got := s.put(t, "key=a.b&value=two&after="+first); got == first || strings.Contains(got, "conflict") {
		t.Errorf("an update of the newest value says %s", got)
	}
	if got := s.put(t, "key=a.b&value=late&after="+first); got != `"conflict"` {
		t.Errorf("an update of an older value says %s; want a conflict", got)
	}
	s.put(t, "key=gone&value=x")
	s.put(t, "key=gone")
	s.everybodySees(t, "each worker sees what is stored", func(seen sight) bool {
		return slices.Equal(seen.Keys, []string{"a.b", "led.by"}) && len(seen.History) == 2 && *seen.History[1] == "two"
	})
	s.everybodySees(t, "each worker's watch was told", func(seen sight) bool {
		value, deletion := seen.Watched["a.b"], seen.Watched["gone"]
		return value != nil && *value == "two" && deletion == nil
	})
}

func TestLoopRunsOnAnotherWorkerAfterTheOneThatLedWasKilled(t *testing.T) {
	t.Parallel()
	s := startStoring(t)
	var led string
	testbed.Eventually(t, "a worker leads", func() bool {
		if by := s.see(t).Watched["led.by"]; by != nil {
			led = *by
		}
		return led != ""
	})
	if err := syscall.Kill(s.process(t, led), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "another one leads", func() bool {
		by := s.see(t).Watched["led.by"]
		return by != nil && *by != led
	})
}

// process is the one that a worker is.
func (s storing) process(t *testing.T, worker string) int {
	t.Helper()
	_, out := s.Request(http.MethodGet, "/_modulebus/v1/modules", nil)
	var status struct {
		Modules []struct {
			Processes []struct {
				Worker string
				PID    int
			}
		}
	}
	if err := json.Unmarshal(out, &status); err != nil {
		t.Fatal(err)
	}
	for _, p := range status.Modules[0].Processes {
		if p.Worker == worker {
			return p.PID
		}
	}
	t.Fatalf("%s is none of %s", worker, out)
	return 0
}
