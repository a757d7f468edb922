package busd

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/supervise"
)

// silentTime is how long a process that has joined may be out of the roster before it is ended: a worker that works joins
// every five seconds.
const silentTime = time.Minute

// joins tells which processes that busd runs do not join, or no longer do: they live, so nothing else starts them again.
// See ADR 121.
type joins struct{ waits map[string]*wait } // by worker

// wait is how long a process is awaited.
type wait struct {
	waited time.Duration // while it could have joined
	joined bool          // it has joined once
	over   bool          // it was ended
}

// seen is what is known of one module's processes at a moment.
type seen struct {
	timeout   time.Duration // [config.Never]: they are not ended
	processes []supervise.Process
	before    []supervise.Process // that go on until these have joined
	workers   []string            // that have joined, wherever they run
	refused   bool                // it refused its configuration
}

// overdue returns the processes that are overdue, and why. elapsed is how long all could have joined since the last call.
func (j *joins) overdue(modules map[string]seen, elapsed time.Duration) (late []overdue) {
	waits := map[string]*wait{} // Those of processes that are gone are forgotten.
	for name, s := range modules {
		for _, p := range s.processes {
			if p.Started.IsZero() || p.ID == "" {
				continue
			}
			w := cmp.Or(j.waits[p.ID], &wait{})
			waits[p.ID] = w
			if w.watch(p.ID, &s, elapsed); w.isOver(s.timeout) {
				w.over = true
				late = append(late, overdue{name, p.ID, w.reason()})
			}
		}
	}
	j.waits = waits
	return late
}

// overdue is a process that has to be ended.
type overdue struct{ module, worker, why string }

// watch counts how long a process is awaited. It is not awaited if its module refused its configuration, and stays to say so; nor
// if workers have joined under names that busd did not give: it may be one of them.
func (w *wait) watch(worker string, s *seen, elapsed time.Duration) {
	switch {
	case slices.Contains(s.workers, worker):
		w.joined, w.waited = true, 0
	case s.refused || s.foreign():
		w.waited = 0
	default:
		w.waited += elapsed
	}
}

// foreign reports whether a worker has joined under a name that none of the processes was given.
func (s *seen) foreign() bool {
	return slices.ContainsFunc(s.workers, func(worker string) bool {
		return !slices.ContainsFunc(slices.Concat(s.processes, s.before), func(p supervise.Process) bool { return p.ID == worker })
	})
}

func (w *wait) isOver(timeout time.Duration) bool {
	return timeout > 0 && !w.over && w.waited >= w.limit(timeout)
}

func (w *wait) limit(timeout time.Duration) time.Duration {
	if w.joined {
		return min(timeout, silentTime)
	}
	return timeout
}

func (w *wait) reason() string {
	what := "it did not join"
	if w.joined {
		what = "it had joined, and was silent"
	}
	return fmt.Sprintf("%s for %s (join_timeout)", what, config.ShowTime(w.waited.Round(time.Second)))
}
