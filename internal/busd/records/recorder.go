package records

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/replay"
	"github.com/modulebus/modulebus/internal/spans"
)

// Recorder keeps records in memory, and also reads those that a [Journal] keeps in JetStream. Its methods may be called
// concurrently.
type Recorder struct {
	ids      ids
	ring     *ring
	numbers  atomic.Uint64
	requests atomic.Bool
	journal  *Journal               // nil: records are only in memory
	shadows  *prometheus.CounterVec // module, callback, result
}

// New returns a recorder that keeps records in memory.
func New() *Recorder {
	shadows := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "modulebus", Name: "shadow_decisions_total",
		Help: "Decisions that would be the same, differ, or are unknown, if a module in shadow had counted.",
	}, []string{"module", "callback", "result"})
	return &Recorder{ids: newIDs(), ring: newRing(), shadows: shadows}
}

// KeepRequests sets whether later records contain requests and answers.
func (r *Recorder) KeepRequests(wanted bool) { r.requests.Store(wanted) }

// Observe records an ask. It is for [bus.Options], and does not block. An ask with modules in shadow is recorded when
// those have answered.
func (r *Recorder) Observe(t *bus.Trace) {
	number := r.numbers.Add(1)
	if t.TraceID.IsValid() {
		r.nameTo(trace.SpanFromContext(t.Context), t, number)
	}
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
	kept := new(entry)
	kept.take(number, t, c)
	t.AwaitShadows(func(modules []bus.ModuleTrace) {
		kept.keep(modules)
		r.ring.put(len(modules), func(e *entry) { e.copy(kept) })
		r.compare(kept)
	})
}

// nameTo writes the record's name to the ask's span, if the span is recorded.
func (r *Recorder) nameTo(span trace.Span, t *bus.Trace, number uint64) {
	if span.IsRecording() {
		span.SetAttributes(spans.DecisionID.String(r.ids.of(t.Start, number)))
	}
}

// compare counts, for each module in shadow, what would have been decided if it had counted.
func (r *Recorder) compare(e *entry) {
	record := e.record(r.ids)
	if !replay.Decided(&record) {
		return
	}
	was := replay.Recorded(&record)
	for _, m := range record.Modules {
		if !m.Shadow {
			continue
		}
		result := "differs"
		if would := replay.WithShadow(&record, m.Module); would.Unknown != "" {
			result = "unknown"
		} else if would.Same(&was) {
			result = "same"
		}
		r.shadows.WithLabelValues(m.Module, e.callback.Name, result).Inc()
	}
}

// Find returns the record with an ID, if it still exists. If it is not in memory, Find blocks while it asks JetStream.
func (r *Recorder) Find(ctx context.Context, id string) (_ decision.Record, found bool, _ error) {
	at, number, ours, ok := r.ids.parse(id)
	if !ok {
		return decision.Record{}, false, nil
	}
	if e, found := r.ring.find(number); found && ours {
		return e.record(r.ids), true, nil
	}
	if r.journal.wanted() == nil {
		return decision.Record{}, false, nil
	}
	return r.journal.find(ctx, id, at)
}

// Kept says, for people, which records there are.
func (r *Recorder) Kept() string {
	text := fmt.Sprintf("busd keeps the last %d, in memory", maxRecords)
	if c := r.journal.wanted(); c != nil {
		text += fmt.Sprintf(", and those of the last %s in JetStream", config.ShowTime(c.Keep))
		if c.NoOpinion > 1 {
			text += fmt.Sprintf(", but of those in which no module said anything one in %d", c.NoOpinion)
		}
	}
	return text
}

// chunk is how many records are read at once, so that the ring is not locked for long.
const chunk = 64

// Last returns the records that match the filter, newest first, at most most. If there are fewer in memory, it blocks
// while it asks JetStream. If JetStream cannot be read, it returns the records in memory with an error.
func (r *Recorder) Last(ctx context.Context, f decision.Filter, most int) ([]decision.Record, error) {
	inMemory, _ := r.inMemory()
	found := r.newest(&f, most)
	if len(found) == most || r.journal.wanted() == nil {
		return found, nil
	}
	older, err := r.journal.last(ctx, &f, most-len(found), inMemory)
	if err != nil {
		return found, err
	}
	found = append(found, older...)
	slices.SortStableFunc(found, func(a, b decision.Record) int { return b.Time.Compare(a.Time.Time) }) // Other busd write to the stream, too.
	return found, nil
}

// newest returns the matching records in memory.
func (r *Recorder) newest(f *decision.Filter, most int) []decision.Record {
	found := []decision.Record{}
	first, next := r.ring.bounds()
	for next > first && len(found) < most {
		from := max(first, next-min(next, chunk))
		entries, _, _ := r.ring.read(nil, from, int(next-from))
		for _, e := range slices.Backward(entries) {
			if record := e.record(r.ids); f.Wants(&record) && len(found) < most {
				found = append(found, record)
			}
		}
		next = from
	}
	return found
}

// inMemory returns a function that reports whether a record is in memory at this moment, and the position of the oldest
// record in memory.
func (r *Recorder) inMemory() (is func(id string) bool, oldest uint64) {
	numbers, oldest := r.ring.numbers()
	there := map[uint64]bool{}
	for _, n := range numbers {
		there[n] = true
	}
	return func(id string) bool {
		_, number, ours, _ := r.ids.parse(id)
		return ours && there[number]
	}, oldest
}

// Reader reads records in the order in which they were made: first, if it is made by History, those that only JetStream
// has, and then those in memory. It may be used by one goroutine at a time. Close must be called.
type Reader struct {
	recorder *Recorder
	filter   decision.Filter
	position uint64
	lost     uint64 // records that were forgotten before it began
	entries  []entry

	ctx      context.Context //nolint:containedctx // It is the reader's life.
	past     *past           // nil: it reads only the memory
	inMemory func(id string) bool
}

// Follow returns a reader of later records.
func (r *Recorder) Follow(f decision.Filter) *Reader {
	_, next := r.ring.bounds()
	return &Reader{recorder: r, filter: f, position: next}
}

// FollowAfter returns a reader of the records after the one with an ID. If that record does not exist any more, it is
// the same as Follow.
func (r *Recorder) FollowAfter(id string) *Reader {
	reader := r.Follow(decision.Filter{})
	if _, number, ours, ok := r.ids.parse(id); ok && ours {
		reader.position, reader.lost = r.ring.after(number)
	}
	return reader
}

// History returns a reader of all existing and later records, until ctx ends. It fails if JetStream, which has some of
// them, cannot be read.
func (r *Recorder) History(ctx context.Context, f decision.Filter) (_ *Reader, err error) {
	inMemory, oldest := r.inMemory()
	reader := &Reader{recorder: r, filter: f, position: oldest, ctx: ctx, inMemory: inMemory}
	if r.journal.wanted() != nil {
		reader.past, err = r.journal.history(ctx, &f)
	}
	return reader, err
}

// Read returns some of the unread records that match the filter, how many records were lost because the reader is too
// slow, and whether no more are left to read now.
func (r *Reader) Read() (found []decision.Record, lost uint64, end bool, _ error) {
	if r.past != nil {
		found, err := r.readPast()
		return found, 0, false, err
	}
	lost, end = r.fetch()
	found = make([]decision.Record, 0, len(r.entries))
	for i := range r.entries {
		if record := r.entries[i].record(r.recorder.ids); r.filter.Wants(&record) {
			found = append(found, record)
		}
	}
	return found, lost, end, nil
}

// fetch reads the next entries of the ring into r.entries, at most chunk. It returns how many were lost because the reader is too
// slow, and whether no more are left to read now.
func (r *Reader) fetch() (lost uint64, end bool) {
	r.entries, r.position, lost = r.recorder.ring.read(r.entries, r.position, chunk)
	return lost, len(r.entries) < chunk
}

// Newest is Read for a reader of the memory that wants only the newest records, at most most. It skips those before
// them, and returns how many it skipped or lost.
func (r *Reader) Newest(most int) (found []decision.Record, missed uint64) {
	_, next := r.recorder.ring.bounds()
	from := max(r.position, next-min(next, uint64(most)))
	entries, next, lost := r.recorder.ring.read(nil, from, most)
	missed = from - r.position + lost + r.lost
	r.position, r.lost = next, 0
	for i := range entries {
		if record := entries[i].record(r.recorder.ids); r.filter.Wants(&record) {
			found = append(found, record)
		}
	}
	return found, missed
}

// readPast returns some of the records that only JetStream has.
func (r *Reader) readPast() (found []decision.Record, _ error) {
	batch, err := r.past.next(r.ctx)
	if err != nil {
		return nil, err
	}
	if len(batch) == 0 {
		r.Close()
		return nil, nil
	}
	for _, m := range batch {
		for record := range written(m.Headers(), m.Data()) {
			if r.filter.Wants(&record) && !r.inMemory(record.ID) {
				found = append(found, record)
			}
		}
	}
	inOrder(found)
	return found, nil
}

// Await waits until there is something to read, or ctx ends.
func (r *Reader) Await(ctx context.Context) { r.recorder.ring.await(ctx, r.position) }

const (
	gatherTime = 50 * time.Millisecond // how long records are gathered, to be sent together
	enough     = maxRecords / 4        // gathered records to send at once: the ring has room for those that come meanwhile
)

// gather waits until there is something to read, and then until there is enough, or gatherTime is over. It returns early if ctx ends.
func (r *Reader) gather(ctx context.Context) {
	r.Await(ctx)
	ctx, cancel := context.WithTimeout(ctx, gatherTime)
	defer cancel()
	r.recorder.ring.await(ctx, r.position+enough-1)
}

// Close ends the reader, also in JetStream. It may be called again.
func (r *Reader) Close() {
	if r.past != nil {
		r.past.close()
		r.past = nil
	}
}
