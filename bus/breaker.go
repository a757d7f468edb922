package bus

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// breaker spares callers the wait for a module that no longer answers. After some timeouts in a row the module is
// not asked for a while, and its failure policy applies; then one ask at a time tries the module. A timeout counts only
// while the module answers nothing else and all its workers are doubted: otherwise one worker is in trouble, and not
// the module. See ADR 17. Its methods may be called concurrently.
type breaker struct {
	terms   terms
	last    atomic.Int64 // stamp of the module's last answer
	tripped atomic.Bool  // there have been timeouts; until then no method locks

	mu       sync.Mutex
	timeouts uint32 // in a row
	until    time.Time
	trying   bool
}

// terms are when a breaker opens, and for how long.
type terms struct {
	timeouts uint32 // 0 is never
	open     time.Duration
}

func termsOf(i *rosterv1.Interest) terms {
	return terms{i.GetBreakerFailures(), wire.FromMilliseconds(i.GetBreakerOpenMs())}
}

// admit reports whether the module may be asked now, and whether that is a trial. The breaker must be told how a
// trial ended.
func (b *breaker) admit(now time.Time) (trial, ok bool) {
	if !b.tripped.Load() {
		return false, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timeouts < b.terms.timeouts {
		return false, true
	}
	if b.trying || now.Before(b.until) {
		return false, false
	}
	b.trying = true
	return true, true
}

// isOpen reports whether the module is left alone.
func (b *breaker) isOpen(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.terms.timeouts > 0 && b.timeouts >= b.terms.timeouts && (b.trying || now.Before(b.until))
}

// answered notes an answer, which closes the breaker. It reports whether the breaker was open.
func (b *breaker) answered(now stamp) (closed bool) {
	b.last.Store(now)
	if !b.tripped.Load() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	closed = b.timeouts >= b.terms.timeouts
	b.timeouts, b.trying = 0, false
	b.tripped.Store(false)
	return closed
}

// answering reports whether the module has answered other asks since it was asked at then.
func (b *breaker) answering(then, now stamp) bool { return !quiet(b.last.Load(), then, now) }

// late notes a timeout of a request that was sent at then. It reports whether that opened the breaker.
func (b *breaker) late(then, at stamp, now time.Time, trial bool) (opened bool) {
	if b.terms.timeouts == 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if trial {
		b.trying = false
	}
	if b.answering(then, at) {
		return false
	}
	b.timeouts++
	b.until = now.Add(b.terms.open)
	b.tripped.Store(true)
	return b.timeouts == b.terms.timeouts
}

// withdrawn notes that a trial ended without a result.
func (b *breaker) withdrawn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
}
