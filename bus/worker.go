package bus

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// worker is one worker of a module, as one callback asks it. A nil worker means that NATS chooses one.
type worker struct {
	*health

	name    string
	subject string
	batch   *natsrequest.Batch // in which questions for it travel together; nil if each travels alone
}

// health is what all callbacks together know of one worker. It lives as long as the roster lists the worker.
type health struct {
	out    atomic.Int32 // requests that it has not answered
	last   atomic.Int64 // stamp of its last reply, or of when it was last given something to do
	tested atomic.Int64 // stamp of when it was last asked to see whether it is still there
	doubts atomic.Int64 // 0 if it is not doubted; otherwise the stamp from which it may get one question as a test
	naming atomic.Int32 // how it is asked when the module has no other worker
	route  natsrequest.Route
}

// How a module's only worker is asked.
const (
	byGroup     = iota // it is not known whether it listens under its name
	byName             // it says that it does, or its group has not answered
	byNameHeard        // it has answered there
)

// newWorker returns a worker as it is asked the callback.
func newWorker(c *Client, d *subjects.Declaration, m *rosterv1.Module, name string) worker {
	w := worker{health: c.memory.worker(m.GetName(), name), name: name, subject: c.server.Worker(d, m.GetName(), name)}
	if m.GetBatch() > 0 {
		w.naming.CompareAndSwap(byGroup, byName)
	}
	if m.GetBatch() > 1 && !m.GetJson() {
		w.batch = &natsrequest.Batch{
			Subject: w.subject, Answers: c.server.Answers(m.GetName(), c.token), Most: m.GetBatch(), Route: &w.route,
		}
	}
	return w
}

// batchIn is how a request for the worker may travel with others: the first of an attempt, to a worker that has a name.
func (w *worker) batchIn(slot int) *natsrequest.Batch {
	if w == nil || slot > 0 {
		return nil
	}
	return w.batch
}

func (w *worker) asked(now stamp) {
	if w != nil && w.out.Add(1) == 1 {
		w.last.Store(now)
	}
}

func (w *worker) released() {
	if w != nil {
		w.out.Add(-1)
	}
}

// heard notes that a worker replied. A worker that replies is no longer doubted.
func (w *worker) heard(now stamp) {
	if w == nil {
		return
	}
	w.last.Store(now)
	if w.doubts.Load() != 0 {
		w.doubts.Store(0)
	}
	if w.naming.Load() != byNameHeard {
		w.naming.Store(byNameHeard)
	}
}

// unheard changes how the module's only worker is asked, because it has not answered in the way in which it was asked: by its name if
// asked is nil, and else by its group. A worker that has answered under its name is always asked there.
func (w *worker) unheard(asked *worker) {
	if asked == nil {
		w.naming.CompareAndSwap(byGroup, byName)
	} else {
		w.naming.CompareAndSwap(byName, byGroup)
	}
}

// stuckWith reports whether the worker, which got a request at then, seems to reply to nothing.
func (w *worker) stuckWith(then, now stamp) bool { return w != nil && quiet(w.last.Load(), then, now) }

// quiet reports whether the last reply is older than the second half of the time between then and now. A reply in
// the first half shows nothing: it may belong to an earlier question.
func quiet(last, then, now stamp) bool { return last <= then+(now-then)/2 }

// doubt makes the worker be asked nothing for the pause. It reports whether the worker was not doubted before.
func (w *worker) doubt(now stamp, pause time.Duration) bool {
	return w.doubts.Swap(now+int64(pause)) == 0
}

func (w *worker) doubted() bool { return w != nil && w.doubts.Load() != 0 }

// load is how many requests the worker has; the largest number if it is not to be asked.
func (w *worker) load(now stamp) int32 {
	if then := w.doubts.Load(); then > now {
		return math.MaxInt32
	}
	return w.out.Load()
}

// suspicious reports whether the worker should be asked although others are less busy, to see whether it is still
// there: NATS says at once if it is not.
func (w *worker) suspicious(now stamp, patience time.Duration) bool {
	tested, before := w.tested.Load(), now-int64(patience)
	return w.out.Load() > 0 && w.last.Load() < before && tested < before && !w.doubted() && w.tested.CompareAndSwap(tested, now)
}

// available reports whether the worker may be asked now. A doubted worker may be asked once when its pause is over,
// and then pauses again until it replies.
func (w *worker) available(now stamp, pause time.Duration) bool {
	then := w.doubts.Load()
	return then == 0 || then <= now && w.doubts.CompareAndSwap(then, now+int64(pause))
}
