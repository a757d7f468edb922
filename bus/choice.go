package bus

import (
	"math/rand/v2"
	"slices"
	"time"
)

// choice is the order in which the workers of a module are offered one request, each once, until one takes it. It
// begins with the less busy of two random workers and goes on with those behind it in the roster. The subject on which
// NATS chooses a worker comes last, or first if no worker is known.
type choice struct {
	workers []worker
	at      int // the next one
	left    int // how many of them may still be asked
	anybody bool
}

func newChoice(s *step, now stamp) choice {
	c := choice{workers: s.workers, left: len(s.workers), anybody: true}
	if !c.named() {
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

// named reports whether workers are asked by name.
func (c *choice) named() bool { return len(c.workers) > 1 }

// more reports whether there is another worker to be asked by name.
func (c *choice) more() bool { return c.left > 0 }

// allDoubted reports whether each worker of the module is doubted.
func (c *choice) allDoubted() bool {
	return !slices.ContainsFunc(c.workers, func(w worker) bool { return !w.doubted() })
}

// next returns the worker to ask, and whether one is left. A nil worker means that NATS chooses, where that is allowed.
func (c *choice) next(now stamp, pause time.Duration, anybody bool) (*worker, bool) {
	if c.anybody && !c.named() {
		c.anybody = false
		return nil, true
	}
	for c.left > 0 {
		w := &c.workers[c.at%len(c.workers)]
		c.at++
		c.left--
		if w.available(now, pause) {
			return w, true
		}
	}
	if c.anybody && anybody {
		c.anybody = false
		return nil, true
	}
	return nil, false
}
