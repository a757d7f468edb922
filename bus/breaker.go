package bus

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// breaker spares callers the wait for a module that answers no more: after some timeouts in a row the module is not asked
// for a while, and its policy applies; then one ask at a time tries. Only timeouts count, and only while the module
// answers nothing else, and no worker is left that is not doubted: else one of its workers is in trouble, and not the module.
// See ADR 17. Its methods may be called concurrently.
type breaker struct {
	terms   terms
	last    atomic.Int64 // stamp of the module's last answer
	tripped atomic.Bool  // there have been timeouts; before, nothing is locked

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

// modulesCallback is one callback of one module.
type modulesCallback struct {
	callback *subjects.Declaration
	module   string
}

// breakerOf returns the breaker of a module's callback, which lives longer than a roster does, as long as its terms are
// the same.
func (c *Client) breakerOf(d *subjects.Declaration, module string, i *rosterv1.Interest) *breaker {
	key, t := modulesCallback{d, module}, terms{i.GetBreakerFailures(), breakerOpen(i)}
	if b := c.breakers[key]; b == nil || b.terms != t {
		c.breakers[key] = &breaker{terms: t}
	}
	return c.breakers[key]
}

func breakerOpen(i *rosterv1.Interest) time.Duration {
	return wire.FromMilliseconds(i.GetBreakerOpenMs())
}

// admit reports whether the module may be asked now, and whether that is a trial, of whose end the breaker must be told.
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

// answered takes in an answer: the module is well. It reports whether the breaker was open, and is closed by that.
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

// answering reports whether the module, which was asked then, is answering others.
func (b *breaker) answering(then, now stamp) bool { return !quiet(b.last.Load(), then, now) }

// late takes in a timeout of a request that was sent then, and reports whether the breaker has opened by that.
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

// withdrawn takes in that a trial ended before it showed anything.
func (b *breaker) withdrawn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
}
