package news

import (
	"container/heap"
	"time"

	"github.com/modulebus/modulebus/internal/wire"
)

const (
	// firstDelay is how long news that was not handled waits before it is delivered again. The delay doubles each time.
	firstDelay = time.Second

	// maxDelay is how long news that was not handled waits at most before it is delivered again. Beyond: the delay does not grow.
	maxDelay = time.Minute
)

// delay is the delay after a number of failures in a row, from 1.
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
	key      string // news of one key is delivered in order
	stored   time.Time
	data     []byte            // empty if left
	left     bool              // its data is in the stream alone
	ack      string            // the subject that removes it
	trace    wire.TraceContext // the trace in which it was stored
	asked    time.Time         // when it was last delivered
}

// row is the news of one key, in the order in which it was stored. Only the first is delivered.
type row struct {
	items    []*item
	failures int       // of the first
	next     time.Time // when the first is delivered again
}

// queue is the news that was taken out of the stream and is not handled yet. It is pure: the time is a parameter.
type queue struct {
	rows    map[string]*row
	items   map[uint64]*item // by sequence
	ready   []*row           // those whose first is to be delivered, oldest first
	waiting rows             // those whose first failed
	out     int              // items that are being delivered
	held    int              // bytes of data

	absences int       // in a row, of the module as a whole
	until    time.Time // the module is not asked before that
	answered time.Time // when it last answered anything
}

func newQueue() *queue { return &queue{rows: map[string]*row{}, items: map[uint64]*item{}} }

// add appends news to the row of its key.
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

// find returns the news with a sequence; nil if it is handled.
func (q *queue) find(seq uint64) *item { return q.items[seq] }

// take returns news to deliver now. While the module does not answer, it returns one piece at a time, as a test.
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

// next is when take may return something again; zero for never.
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

// done removes news that is handled or given up.
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

// failed makes news be delivered again later, because the module could not handle it.
func (q *queue) failed(n *item, now time.Time) {
	q.out--
	r := q.rows[n.key]
	r.failures++
	r.next = now.Add(delay(r.failures))
	heap.Push(&q.waiting, r)
}

// unheard makes news be delivered again as soon as the module answers anything.
func (q *queue) unheard(n *item) {
	q.out--
	q.ready = append(q.ready, q.rows[n.key])
}

// heard notes that the module answers.
func (q *queue) heard(now time.Time) { q.answered, q.absences, q.until = now, 0, time.Time{} }

// silent notes that the module did not answer a question that it was asked at asked, and does not ask it for a while.
// Several unanswered questions that were asked together count as one absence.
func (q *queue) silent(asked, now time.Time) {
	if q.answered.After(asked) || now.Before(q.until) {
		return
	}
	q.absences++
	q.until = now.Add(delay(q.absences))
}

// wake makes all waiting news be delivered now, because the module may have been replaced.
func (q *queue) wake() {
	q.until = time.Time{}
	q.ready = append(q.ready, q.waiting...)
	q.waiting = nil
}

// rows is a heap, ordered by next.
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
