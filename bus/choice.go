package bus

import (
	"math/rand/v2"
	"slices"
	"time"
)

// choice is the order in which the workers of a module are offered one request, each once, until one takes it. It
// begins with the less busy of two random workers and goes on with those behind it in the roster. The subject on which
// NATS chooses a worker comes last. It comes first if no worker is known, or if the only one may not listen under its
// name; see ADR 87.
type choice struct {
	workers    []worker
	at         int // the next one
	left       int // how many of them may still be asked
	anybody    bool
	groupFirst bool
}

func newChoice(s *step, now stamp) choice {
	c := choice{workers: s.workers, left: len(s.workers), anybody: true}
	if !c.several() {
		c.groupFirst = c.left == 0 || c.workers[0].naming.Load() == byGroup
		return c
	}
	one := rand.IntN(c.left)
	two := (one + 1 + rand.IntN(c.left-1)) % c.left
	if s.workers[two].load(now) < s.workers[one].load(now) {
		one, two = two, one
	}
	if c.at = one; s.speculative && s.workers[two].suspicious(now, s.timeout/10) {
		c.at = two
	}
	return c
}

// several reports whether the module has more than one worker.
func (c *choice) several() bool { return len(c.workers) > 1 }

// only returns the module's worker where there is no other, or nil.
func (c *choice) only() *worker {
	if len(c.workers) == 1 {
		return &c.workers[0]
	}
	return nil
}

// sure reports whether the module's only worker is known to listen under its name. It is then asked there whatever else is
// known of it: the group may hold what has left the roster and answers nobody.
func (c *choice) sure() bool { w := c.only(); return w != nil && w.naming.Load() == byNameHeard }

// more reports whether there is another worker to be asked by name.
func (c *choice) more() bool { return c.left > 0 }

// allDoubted reports whether each worker of the module is doubted.
func (c *choice) allDoubted() bool {
	return !slices.ContainsFunc(c.workers, func(w worker) bool { return !w.doubted() })
}

// next returns the worker to ask, and whether one is left. A nil worker means that NATS chooses, where that is allowed.
func (c *choice) next(now stamp, pause time.Duration, anybody bool) (*worker, bool) {
	if c.groupFirst {
		c.groupFirst, c.anybody = false, false
		return nil, true
	}
	for c.left > 0 {
		w := &c.workers[c.at%len(c.workers)]
		c.at++
		c.left--
		if c.sure() || w.available(now, pause) {
			return w, true
		}
	}
	if c.anybody && anybody {
		c.anybody = false
		return nil, true
	}
	return nil, false
}
