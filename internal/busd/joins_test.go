package busd

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/supervise"
)

func TestProcessesThatDoNotJoinAreOverdue(t *testing.T) {
	t.Parallel()
	const timeout = 10 * time.Minute
	running := func(workers ...string) (all []supervise.Process) {
		for _, id := range workers {
			all = append(all, supervise.Process{Worker: supervise.Worker{ID: id}, Started: time.Unix(1, 0)})
		}
		return all
	}
	between := supervise.Process{Worker: supervise.Worker{ID: "a"}} // It ended, and the next one is not started yet.
	joined := seen{timeout: timeout, processes: running("a"), workers: []string{"a"}}
	silent := seen{timeout: timeout, processes: running("a")}
	for name, tt := range map[string]struct {
		first, then seen
		after       time.Duration
		want        []string
	}{
		"one that never joined":                     {silent, silent, timeout, []string{"a: it did not join for 10m (join_timeout)"}},
		"one that has time":                         {silent, silent, timeout - time.Second, nil},
		"one that joined, and is silent":            {joined, silent, time.Minute, []string{"a: it had joined, and was silent for 1m (join_timeout)"}},
		"one that was silent for a moment":          {joined, silent, 59 * time.Second, nil},
		"one that joins":                            {silent, joined, timeout, nil},
		"one of a module that waits for its config": {silent, seen{timeout: timeout, processes: running("a"), refused: true}, timeout, nil},
		"one that joined under a name of its own":   {silent, seen{timeout: timeout, processes: running("a"), workers: []string{"mine"}}, timeout, nil},
		"one of two": {
			silent, seen{timeout: timeout, processes: running("a", "b"), workers: []string{"b"}}, timeout, []string{"a: it did not join for 10m (join_timeout)"},
		},
		"one that is to replace another": {
			silent,
			seen{timeout: timeout, processes: running("a"), before: running("old"), workers: []string{"old"}},
			timeout,
			[]string{"a: it did not join for 10m (join_timeout)"},
		},
		"one that does not run":         {silent, seen{timeout: timeout, processes: []supervise.Process{between}}, timeout, nil},
		"one that started in its place": {silent, seen{timeout: timeout, processes: running("next")}, timeout - time.Second, nil},
		"one that may be silent":        {silent, seen{timeout: config.Never, processes: running("a")}, 100 * timeout, nil},
		"one with less than a minute": {
			joined, seen{timeout: 5 * time.Second, processes: running("a")}, 5 * time.Second, []string{"a: it had joined, and was silent for 5s (join_timeout)"},
		},
	} {
		j := &joins{}
		j.overdue(map[string]seen{"gate": tt.first}, 0)
		var got []string
		for _, p := range j.overdue(map[string]seen{"gate": tt.then}, tt.after) {
			got = append(got, p.worker+": "+p.why)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if again := j.overdue(map[string]seen{"gate": tt.then}, 0); len(again) > 0 {
			t.Errorf("%s: it is ended twice", name)
		}
	}
}
