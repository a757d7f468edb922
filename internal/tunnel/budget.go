package tunnel

import "sync"

// Every byte of credit given out may have to be held here, until its reader takes it. So the sum is bounded, whatever
// the number of streams and however slow their readers: each stream has a little that is its own, and the rest is a
// purse that all share. Nobody takes more than a part of what is left in it, so there is always some for the next.
const (
	ownCredit  = 1 << 10 // of each stream
	maxStreams = 16 << 10
	purse      = 16 << 20 // for all streams together, beside their own
	kept       = purse / 2
	firstMost  = 256 << 10 // what a stream may begin with
	windowMost = 2 << 20   // what a stream whose reader keeps up may grow to
)

// budget is the credit that one process may have given out.
type budget struct {
	mu      sync.Mutex
	streams int
	shared  int64 // taken from the purse
}

// open takes what a new stream begins with. Half of the purse is kept for streams that show that they need more.
func (b *budget) open() (credit int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streams >= maxStreams {
		return 0, false
	}
	b.streams++
	extra := min(firstMost, max(0, (purse-kept-b.shared)/32))
	b.shared += extra
	return ownCredit + extra, true
}

// extend changes what a stream has out from have to want, or to less where the purse does not allow that, but never
// below least, which cannot be taken back.
func (b *budget) extend(have, least, want int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shared -= max(0, have-ownCredit)
	got := max(least, min(want, ownCredit+max(0, purse-b.shared)/4))
	b.shared += max(0, got-ownCredit)
	return got
}

// close gives back what a stream has out.
func (b *budget) close(have int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streams--
	b.shared -= max(0, have-ownCredit)
}

// out is the sum of what is given out, at most.
func (b *budget) out() (streams int, credit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.streams, b.shared + int64(b.streams)*ownCredit
}
