package bus

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// breaker spares callers the wait for a module that answers no more. Only timeouts count against a module: all other
// failures are known at once, and asking again is how one learns that they are over. While it is open, the module is not
// asked and its policy applies; then one ask tries. A nil breaker never opens.
type breaker struct {
	terms   terms
	library *gobreaker.TwoStepCircuitBreaker[struct{}]
	tripped atomic.Bool // whether the library has anything to say; it is not asked before
}

// terms are when a breaker opens, and for how long.
type terms struct {
	failures uint32
	open     time.Duration
}

// place is one callback of one module.
type place struct {
	callback *subjects.Declaration
	module   string
}

const breakerOpen = 5 * time.Second

// What came of an ask that the breaker was told of.
var (
	errLate  = errors.New("no answer in time")
	errOther = errors.New("another failure, or nothing")
)

// breakerOf returns the breaker of a module's callback, which lives longer than a roster does, as long as its terms are
// the same.
func (c *Client) breakerOf(d *subjects.Declaration, module string, i *rosterv1.Interest) *breaker {
	key, t := place{d, module}, terms{i.GetBreakerFailures(), milliseconds(i.GetBreakerOpenMs(), breakerOpen)}
	if t.failures == 0 {
		delete(c.breakers, key)
		return nil
	}
	if b := c.breakers[key]; b == nil || b.terms != t {
		c.breakers[key] = newBreaker(t)
	}
	return c.breakers[key]
}

func newBreaker(t terms) *breaker {
	return &breaker{terms: t, library: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     t.open,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= t.failures },
		IsExcluded:  func(err error) bool { return errors.Is(err, errOther) },
	})}
}

// admit reports whether the module may be asked now. Judge must be told with that verdict what came of it. As long as all
// is well, the library is not bothered.
func (b *breaker) admit() (verdict func(error), ok bool) {
	if b == nil || !b.tripped.Load() {
		return nil, true
	}
	done, err := b.library.Allow()
	return done, err == nil
}

// judge takes in what came of an ask that was admitted: nil, errLate or errOther.
func (b *breaker) judge(verdict func(error), err error) {
	switch {
	case b == nil:
		return
	case verdict != nil:
		verdict(err)
	case errors.Is(err, errLate):
		b.late()
	}
	if err == nil {
		b.well()
	}
}

// late counts a timeout of an ask that was admitted before the library was bothered.
func (b *breaker) late() {
	b.tripped.Store(true)
	if done, err := b.library.Allow(); err == nil {
		done(errLate)
	}
}

// well goes back to not bothering the library when nothing has failed since.
func (b *breaker) well() {
	if b.tripped.Load() && b.library.State() == gobreaker.StateClosed && b.library.Counts().ConsecutiveFailures == 0 {
		b.tripped.Store(false)
	}
}

// hedges is the budget of second requests: one for ten answers, so that hedging cannot double the load of a module that
// is slow everywhere.
type hedges struct{ earned atomic.Int64 }

const (
	hedgeCost  = 10
	hedgeSaved = 100 * hedgeCost // at most
)

func (c *Client) hedgesOf(d *subjects.Declaration, module string) *hedges {
	key := place{d, module}
	if c.hedges[key] == nil {
		c.hedges[key] = &hedges{}
		c.hedges[key].earned.Store(hedgeSaved / hedgeCost)
	}
	return c.hedges[key]
}

func (h *hedges) earn() {
	if h.earned.Load() < hedgeSaved {
		h.earned.Add(1)
	}
}

func (h *hedges) take() bool {
	if h.earned.Add(-hedgeCost) >= 0 {
		return true
	}
	h.earned.Add(hedgeCost)
	return false
}
