package flow

import "sync"

// Every byte of credit given out may have to be held here until its reader takes it. So the sum is bounded, whatever the
// number of streams and however slow their readers: each stream has a little of its own, and all streams share a pool. A
// stream gets at most a quarter of what is left in the pool, so the pool is never exhausted by one.
const (
	// perStreamBytes is the credit in bytes that each stream has of its own. Beyond: it needs some of sharedBytes; without
	// any it is slow, but not stuck.
	perStreamBytes = 1 << 10

	// MaxStreams is how many streams one process may have. Beyond: a request is answered 503.
	MaxStreams = 16 << 10

	// sharedBytes is the credit in bytes that all streams of a process share. Beyond: streams have perStreamBytes each.
	sharedBytes = 16 << 20

	// reserveBytes of sharedBytes are kept for streams whose readers keep up; new ones do not get them.
	reserveBytes = sharedBytes / 2

	// initialMax is the most bytes of a body that a stream may begin with. Beyond: its peer waits for credit.
	initialMax = 256 << 10

	// windowMax is the most bytes of a body that may be under way. Beyond: the sender waits for credit.
	windowMax = 2 << 20
)

// Budget is the credit that one process may have given out. Its zero value has given out none.
type Budget struct {
	mu      sync.Mutex
	streams int
	shared  int64 // how much of sharedBytes is taken
}

// open takes the first credit of a new stream.
func (b *Budget) open() (credit int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streams >= MaxStreams {
		return 0, false
	}
	b.streams++
	extra := min(initialMax, max(0, (sharedBytes-reserveBytes-b.shared)/32))
	b.shared += extra
	return perStreamBytes + extra, true
}

// extend changes a stream's credit from have to want, or to less if the pool does not allow that, but never below
// least, which cannot be taken back.
func (b *Budget) extend(have, least, want int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shared -= max(0, have-perStreamBytes)
	got := max(least, min(want, perStreamBytes+max(0, sharedBytes-b.shared)/4))
	b.shared += max(0, got-perStreamBytes)
	return got
}

// close returns a stream's credit.
func (b *Budget) close(have int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streams--
	b.shared -= max(0, have-perStreamBytes)
}

// Lent returns how many streams there are, and the most that may be under way to them, in bytes.
func (b *Budget) Lent() (streams int, credit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.streams, b.shared + int64(b.streams)*perStreamBytes
}
