package bus_test

import (
	"slices"
	"time"
)

// conduct is how one module was asked.
type conduct struct {
	witness
	actor

	index    int
	xs       []*exchange
	deadline time.Time
	second   bool     // a second worker may be asked because the first takes long
	named    []string // workers that were asked by name
}

// check holds requests to one module against what may be asked of it: all its workers, each once by name, another one at
// once when one is busy or gone, and a second one when the first takes long.
func (c *conduct) check() {
	if byName := c.xs[0].worker != ""; len(c.workers) != 1 && byName != (len(c.workers) > 1) {
		c.Fatalf("%s was asked at %q first", name(c.index), c.xs[0].worker)
	}
	owed, due := c.owed(), c.due()
	c.second = len(due) > 0
	for n, x := range c.xs {
		c.checkTerms(x)
		switch {
		case n == 0:
		case owed[x.at] > 0:
			owed[x.at]--
		case c.second && x.worker != "" && slices.ContainsFunc(due, x.at.Equal):
			c.second = false
		default:
			c.Fatalf("%s was asked again after %v, for no reason", x.module, x.at.Sub(c.xs[0].at))
		}
		last := len(c.workers) > 0 && len(c.named) == len(c.workers) && n == len(c.xs)-1
		if n > 0 && x.worker == "" && !last || x.worker != "" && slices.Contains(c.named, x.worker) {
			c.Fatalf("worker %q of %s was asked after %v", x.worker, x.module, c.named)
		}
		if x.worker != "" {
			c.named = append(c.named, x.worker)
		}
	}
	c.checkUnasked(owed)
}

// due is when a second worker is asked: when the operator says, and half-way. The only one is asked by its name when its group has
// said nothing for half of its time. Nothing with side effects is asked twice.
func (c *conduct) due() (due []time.Time) {
	given := c.deadline.Sub(c.xs[0].at)
	alone := len(c.workers) == 1
	if len(c.workers) == 0 || !c.kind.Callback.Options.GetSpeculative() || alone && (c.xs[0].worker != "" || given < c.timeout) {
		return nil
	}
	if !alone && c.hedge > 0 && c.hedge < given {
		due = append(due, c.xs[0].at.Add(c.hedge))
	}
	due = append(due, c.xs[0].at.Add(given/2))
	slices.SortFunc(due, time.Time.Compare)
	return due
}

// owed is how many requests to other workers are due, by when they are: for each that was busy or gone.
func (c *conduct) owed() map[time.Time]int {
	owed := map[time.Time]int{}
	for _, x := range c.xs {
		if x.reply != nil && x.over.Before(c.deadline) {
			if _, kind := c.read(x.reply); kind == busy || kind == absent {
				owed[x.over]++
			}
		}
	}
	return owed
}

// checkTerms checks what a request says of itself, and that it was called off exactly where that is any use.
func (c *conduct) checkTerms(x *exchange) {
	left := c.deadline.Sub(x.at)
	if left >= c.timeout {
		left = 0
	}
	if x.JSON != c.json || x.Timeout != left {
		c.Fatalf("%s was told to answer within %v, want %v (JSON: %v)", x.module, x.Timeout, left, x.JSON)
	}
	if x.reply == nil && x.unsent == nil && x.cancelled != x.over.Before(c.deadline) {
		c.Fatalf("%s was told that its answer is not wanted: %v, %v before its time was over", x.module, x.cancelled, c.deadline.Sub(x.over))
	}
}

// checkUnasked looks for workers that should have been asked.
func (c *conduct) checkUnasked(owed map[time.Time]int) {
	if len(c.named) == len(c.workers) {
		return
	}
	for at, n := range owed {
		if n > 0 {
			c.Fatalf("%s: of workers %v only %v were asked, though one was busy or gone after %v", name(c.index), c.workers, c.named, at.Sub(c.xs[0].at))
		}
	}
	if !c.second || !c.due()[0].Before(c.end) {
		return
	}
	if k := c.outcome(c.index, c.xs); k.Failure == unknown.Failure || k.at.After(c.due()[0]) {
		c.Fatalf("%s: no second worker was asked, though one took long", name(c.index))
	}
}
