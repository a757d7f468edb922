package news

import (
	"container/heap"
	"time"

	"github.com/modulebus/modulebus/internal/wire"
)

const (
	// firstDelay is how long news that was not handled waits before it is told again. Each further time it is twice as long.
	firstDelay = time.Second

	// maxDelay is the longest such time. Beyond: it stays as long.
	maxDelay = time.Minute
)

// delay is the time after so many failures in a row, from 1.
func delay(failures int) time.Duration {
	if failures > 10 {
		return maxDelay
	}
	return min(firstDelay<<(failures-1), maxDelay)
}

// item is one piece of news.
type item struct {
	seq      uint64 // in the stream
	callback string
	key      string // whose order it stands in
	stored   time.Time
	data     []byte            // empty where it is elsewhere
	left     bool              // its data is in the stream alone
	ack      string            // where it is removed
	trace    wire.TraceContext // in which it was stored
	asked    time.Time         // when the module was last told
}

// row is the news of one key, in the order in which it was stored. Only the first is told.
type row struct {
	items    []*item
	failures int       // of the first
	next     time.Time // when it is told again
}

// queue is the news that was taken out and is not handled yet. It is pure: times are given to it.
type queue struct {
	rows    map[string]*row
	items   map[uint64]*item // by sequence
	ready   []*row           // those whose first is to be told, the longest there first
	waiting rows             // those whose first failed
	out     int              // items being told
	held    int              // bytes of data

	absences int       // in a row, of the module as a whole
	until    time.Time // the module is left alone
	answered time.Time // when it last said anything
}

func newQueue() *queue { return &queue{rows: map[string]*row{}, items: map[uint64]*item{}} }

// add puts news behind what there is of its key.
func (q *queue) add(n *item) {
	q.held += len(n.data)
	q.items[n.seq] = n
	r := q.rows[n.key]
	if r == nil {
		r = &row{}
		q.rows[n.key] = r
		q.ready = append(q.ready, r)
	}
	r.items = append(r.items, n)
}

// find returns the news with that sequence, if it is not handled yet.
func (q *queue) find(seq uint64) *item { return q.items[seq] }

// take returns what to tell now. While the module does not answer, that is one piece at a time, to see.
func (q *queue) take(now time.Time) *item {
	for len(q.waiting) > 0 && !now.Before(q.waiting[0].next) {
		q.ready = append(q.ready, heap.Pop(&q.waiting).(*row))
	}
	if len(q.ready) == 0 || now.Before(q.until) || q.absences > 0 && q.out > 0 {
		return nil
	}
	n := q.ready[0].items[0]
	q.ready = q.ready[1:]
	q.out++
	n.asked = now
	return n
}

// next is when there may be something to tell that is not to be told now; zero for never.
func (q *queue) next() time.Time {
	var at time.Time
	switch {
	case len(q.ready) > 0:
		at = q.until
	case len(q.waiting) > 0:
		at = q.waiting[0].next
	}
	if at.Before(q.until) && !at.IsZero() {
		return q.until
	}
	return at
}

// done takes out news that was told and is over with.
func (q *queue) done(n *item) {
	q.out--
	q.held -= len(n.data)
	delete(q.items, n.seq)
	r := q.rows[n.key]
	r.items, r.failures = r.items[1:], 0
	if len(r.items) == 0 {
		delete(q.rows, n.key)
		return
	}
	q.ready = append(q.ready, r)
}

// failed has news told again later: the module has it and could not handle it.
func (q *queue) failed(n *item, now time.Time) {
	q.out--
	r := q.rows[n.key]
	r.failures++
	r.next = now.Add(delay(r.failures))
	heap.Push(&q.waiting, r)
}

// unheard has news told again as soon as the module answers anything.
func (q *queue) unheard(n *item) {
	q.out--
	q.ready = append(q.ready, q.rows[n.key])
}

// heard notes that the module answers.
func (q *queue) heard(now time.Time) { q.answered, q.absences, q.until = now, 0, time.Time{} }

// silent leaves the module alone for a while, because it did not answer what it was asked then. Several that were asked
// together are one absence.
func (q *queue) silent(asked, now time.Time) {
	if q.answered.After(asked) || now.Before(q.until) {
		return
	}
	q.absences++
	q.until = now.Add(delay(q.absences))
}

// wake has everything told that waits: the module may be another.
func (q *queue) wake() {
	q.until = time.Time{}
	q.ready = append(q.ready, q.waiting...)
	q.waiting = nil
}

// rows is a heap by the time at which they are next.
type rows []*row

func (r rows) Len() int           { return len(r) }
func (r rows) Less(i, j int) bool { return r[i].next.Before(r[j].next) }
func (r rows) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *rows) Push(x any)        { *r = append(*r, x.(*row)) }
func (r *rows) Pop() any {
	last := len(*r) - 1
	x := (*r)[last]
	*r = (*r)[:last]
	return x
}
