package bus

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// stamp is a time, in nanoseconds since the client began, never 0.
type stamp = int64

func (c *Client) stamp(now time.Time) stamp { return int64(now.Sub(c.epoch)) + 1 }

// worker is a worker of a module as one of its callbacks is asked of it. A nil worker is whoever NATS chooses.
type worker struct {
	*health

	name    string
	subject string
}

// health is what is known of one worker, by all callbacks together. It lives as long as the roster lists the worker.
type health struct {
	out    atomic.Int32 // requests that it has not answered
	last   atomic.Int64 // stamp of its last reply
	doubts atomic.Int64 // 0, or the stamp from which on a worker that is doubted gets a question to show itself
}

// modulesWorker is one worker of one module.
type modulesWorker struct{ module, worker string }

func (c *Client) healthOf(module, worker string) *health {
	key := modulesWorker{module, worker}
	if c.workers[key] == nil {
		c.workers[key] = &health{}
	}
	return c.workers[key]
}

// forgetWorkers forgets those that the roster does not list.
func (c *Client) forgetWorkers(r *rosterv1.Roster) {
	listed := map[modulesWorker]*health{}
	for _, m := range r.GetModules() {
		for _, name := range m.GetWorkers() {
			listed[modulesWorker{m.GetName(), name}] = c.healthOf(m.GetName(), name)
		}
	}
	c.workers = listed
}

func (w *worker) asked() {
	if w != nil {
		w.out.Add(1)
	}
}

func (w *worker) released() {
	if w != nil {
		w.out.Add(-1)
	}
}

// heard takes in a reply: whoever replies is not doubted.
func (w *worker) heard(now stamp) {
	if w == nil {
		return
	}
	w.last.Store(now)
	if w.doubts.Load() != 0 {
		w.doubts.Store(0)
	}
}

// quietSince reports whether the worker has not replied to anything since then.
func (w *worker) quietSince(then stamp) bool { return w != nil && w.last.Load() <= then }

// doubt has the worker asked nothing for a while, and reports whether it was not doubted before.
func (w *worker) doubt(now stamp, pause time.Duration) bool {
	return w.doubts.Swap(now+int64(pause)) == 0
}

func (w *worker) doubted() bool { return w != nil && w.doubts.Load() != 0 }

// load is how much the worker has to do; most of all when it is not to be asked.
func (w *worker) load(now stamp) int32 {
	if then := w.doubts.Load(); then > now {
		return math.MaxInt32
	}
	return w.out.Load()
}

// available reports whether the worker may be asked now. When its pause is over, a doubted one may once, and then pauses
// again until it is heard.
func (w *worker) available(now stamp, pause time.Duration) bool {
	then := w.doubts.Load()
	return then == 0 || then <= now && w.doubts.CompareAndSwap(then, now+int64(pause))
}

// choice is the order in which workers of a module get one request, each of them once, until one takes it: the less busy
// of two at random, and those behind it in the roster. Whoever NATS chooses comes last, or first where there is no choice.
type choice struct {
	workers []worker
	at      int // the next one
	left    int // how many of them may still be asked
	anybody bool
}

func choose(workers []worker, now stamp) choice {
	c := choice{workers: workers, left: len(workers), anybody: true}
	if len(workers) < 2 {
		return c
	}
	c.at = rand.IntN(len(workers))
	other := (c.at + 1 + rand.IntN(len(workers)-1)) % len(workers)
	if workers[other].load(now) < workers[c.at].load(now) {
		c.at = other
	}
	return c
}

// named reports whether workers are asked by name.
func (c *choice) named() bool { return len(c.workers) > 1 }

// more reports whether there is another worker to be asked by name.
func (c *choice) more() bool { return c.left > 0 }

// next returns a worker, nil for whoever NATS chooses if that may be, and whether there is any left.
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
