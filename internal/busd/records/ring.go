package records

import (
	"context"
	"math"
	"slices"
	"sync"
)

const (
	// maxRecords is how many records are in memory. Beyond: the oldest is forgotten.
	maxRecords = 4096

	// maxParts is how many modules' parts all records in memory may have together. Beyond: the oldest records are
	// forgotten.
	maxParts = 32768
)

// ring holds the last records. Once the ring has been full, adding a record allocates no memory, and it never waits for
// readers. Its methods may be called concurrently.
type ring struct {
	mu      sync.Mutex
	entries []entry // by position, modulo their number
	first   uint64  // position of the oldest
	next    uint64  // position of the next one to come
	parts   int
	awaited uint64        // position of the first entry to come that a reader waits for
	more    chan struct{} // closed when it has come
}

// nobody is the position that no reader waits for.
const nobody = math.MaxUint64

func newRing() *ring { return &ring{awaited: nobody, more: make(chan struct{})} }

// put calls fill with the next entry, to be written.
func (r *ring) put(parts int, fill func(*entry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) < maxRecords && int(r.next) == len(r.entries) {
		r.entries = append(r.entries, entry{})
	}
	for r.next-r.first == maxRecords || r.first < r.next && r.parts+parts > maxParts {
		r.forget()
	}
	fill(r.at(r.next))
	r.parts += parts
	r.next++
	if r.next > r.awaited {
		r.awaited = nobody
		close(r.more)
		r.more = make(chan struct{})
	}
}

func (r *ring) at(position uint64) *entry { return &r.entries[position%maxRecords] }

// forget removes the oldest entry. It keeps the entry's slice for the next one in its place, if it is small.
func (r *ring) forget() {
	const few = 16
	e := r.at(r.first)
	r.parts -= len(e.modules)
	if cap(e.modules) > few {
		e.modules = nil
	}
	e.content = nil
	r.first++
}

// read returns entries from a position on, at most most, in the memory of used entries that are no longer needed, the
// position after them, and how many are lost.
func (r *ring) read(used []entry, from uint64, most int) (found []entry, next, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if from < r.first {
		lost = r.first - from
		from = r.first
	}
	next = max(from, min(r.next, from+uint64(most)))
	n := int(next - from)
	found = slices.Grow(used[:0], n)[:n]
	for i := range found {
		found[i].copy(r.at(from + uint64(i)))
	}
	return found, next, lost
}

// await waits until there is an entry at the position, or ctx ends.
func (r *ring) await(ctx context.Context, position uint64) {
	for more := r.awaiting(position); more != nil && ctx.Err() == nil; more = r.awaiting(position) {
		select {
		case <-more:
		case <-ctx.Done():
		}
	}
}

// awaiting returns a channel that is closed when there may be an entry at the position; nil if there is one already.
func (r *ring) awaiting(position uint64) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next > position {
		return nil
	}
	r.awaited = min(r.awaited, position)
	return r.more
}

// bounds returns the positions of the oldest entry and of the next one.
func (r *ring) bounds() (first, next uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first, r.next
}

// numbers returns the numbers of all entries, and the position of the oldest.
func (r *ring) numbers() (all []uint64, first uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all = make([]uint64, 0, r.next-r.first)
	for at := r.first; at < r.next; at++ {
		all = append(all, r.at(at).number)
	}
	return all, r.first
}

// after returns the position after the entry with a number. If that entry is forgotten, it returns the position of the
// oldest entry, and how many are lost in between.
func (r *ring) after(number uint64) (position, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := r.next; at > r.first; at-- {
		if r.at(at-1).number == number {
			return at, 0
		}
	}
	if r.first < r.next {
		if oldest := r.at(r.first).number; oldest > number {
			lost = oldest - number - 1
		}
	}
	return r.first, lost
}

// find returns the entry with a number.
func (r *ring) find(number uint64) (entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := r.next; at > r.first; at-- {
		if e := r.at(at - 1); e.number == number {
			return e.clone(), true
		}
	}
	return entry{}, false
}
