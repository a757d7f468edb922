package records

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/decision"
)

// Recorder keeps records. Its methods may be called concurrently.
type Recorder struct {
	ids      ids
	ring     *ring
	numbers  atomic.Uint64
	requests atomic.Bool
}

// New returns a recorder that keeps records in memory.
func New() *Recorder { return &Recorder{ids: newIDs(), ring: newRing()} }

// KeepRequests has records from now on say what was asked and decided, or not.
func (r *Recorder) KeepRequests(wanted bool) { r.requests.Store(wanted) }

// Observe records an ask. It is for [bus.Options], and does not block. An ask with modules in shadow is recorded when
// they have said what they say.
func (r *Recorder) Observe(t *bus.Trace) {
	number := r.numbers.Add(1)
	if ticket := ticketOf(t.Context); ticket != nil {
		ticket.ids, ticket.at, ticket.number = r.ids, t.Start, number
	}
	var c *content
	if r.requests.Load() {
		c = contentOf(t)
	}
	if t.AwaitShadows == nil {
		r.ring.put(len(t.Modules), func(e *entry) { e.take(number, t, c) })
		return
	}
	var kept entry
	kept.take(number, t, c)
	t.AwaitShadows(func(modules []bus.ModuleTrace) {
		kept.trace.Modules = modules
		r.ring.put(len(modules), func(e *entry) { e.take(number, &kept.trace, c) })
	})
}

// Find returns the record with that ID, if it is still there.
func (r *Recorder) Find(_ context.Context, id string) (_ decision.Record, found bool, _ error) {
	_, number, ours, ok := r.ids.parse(id)
	if !ok || !ours {
		return decision.Record{}, false, nil
	}
	e, found := r.ring.find(number)
	if !found {
		return decision.Record{}, false, nil
	}
	return e.record(r.ids), true, nil
}

// Kept says which records there are.
func (r *Recorder) Kept() string {
	return fmt.Sprintf("busd keeps the last %d, in memory", maxRecords)
}

// chunk is how many records are read at once, so that nobody holds the ring for long.
const chunk = 64

// Last returns the records that the filter wants, the newest first, at most so many.
func (r *Recorder) Last(_ context.Context, f decision.Filter, most int) ([]decision.Record, error) {
	found := []decision.Record{}
	first, next := r.ring.bounds()
	for next > first && len(found) < most {
		from := max(first, next-min(next, chunk))
		entries, _, _ := r.ring.read(from, int(next-from))
		for _, e := range slices.Backward(entries) {
			if record := e.record(r.ids); f.Wants(&record) && len(found) < most {
				found = append(found, record)
			}
		}
		next = from
	}
	return found, nil
}

// Reader reads records in the order in which they are made. It is for one goroutine at a time.
type Reader struct {
	recorder *Recorder
	filter   decision.Filter
	position uint64
}

// Follow returns a reader of the records that are made from now on.
func (r *Recorder) Follow(f decision.Filter) *Reader {
	_, next := r.ring.bounds()
	return &Reader{r, f, next}
}

// History returns a reader of the records that there are, and of those to come.
func (r *Recorder) History(_ context.Context, f decision.Filter) *Reader {
	first, _ := r.ring.bounds()
	return &Reader{r, f, first}
}

// Read returns some of the records that are there and were not read before, as far as the filter wants them; how many
// the reader was too slow for; and whether there were none left to read.
func (r *Reader) Read() (found []decision.Record, lost uint64, end bool, _ error) {
	entries, next, lost := r.recorder.ring.read(r.position, chunk)
	r.position = next
	for i := range entries {
		if record := entries[i].record(r.recorder.ids); r.filter.Wants(&record) {
			found = append(found, record)
		}
	}
	return found, lost, len(entries) < chunk, nil
}

// Await returns when there is something to read, or ctx ends.
func (r *Reader) Await(ctx context.Context) { r.recorder.ring.await(ctx, r.position) }
