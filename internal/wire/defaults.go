package wire

import (
	"math"
	"time"
)

// Defaults of the operator's settings. busd writes them into the roster and into the modules' entries; readers of those have no
// defaults of their own.
const (
	// DefaultTimeout is how long a module may take to answer a question.
	DefaultTimeout = time.Second

	// DefaultBudget is how long a decision may take, with all modules that are asked for it.
	DefaultBudget = 5 * time.Second

	// DefaultBreakerFailures is the number of timeouts in a row after which a module is not asked for a while.
	DefaultBreakerFailures = 5

	// DefaultBreakerOpen is for how long a module is then not asked.
	DefaultBreakerOpen = 5 * time.Second

	// CallTimeout is how long a call of the Module API may take that has no deadline.
	CallTimeout = 60 * time.Second

	// StoreHistory is how many values of a key a module's store keeps.
	StoreHistory = 8

	// LeaderLease is how long a leading worker keeps the lead without renewing it.
	LeaderLease = 15 * time.Second

	// JoinEvery is how often a worker joins again. A worker that has not joined for three times as long is forgotten.
	JoinEvery = 5 * time.Second
)

// Milliseconds returns d in milliseconds, rounded up so that a little time is not none, and at most what 32 bits hold:
// seven weeks.
func Milliseconds(d time.Duration) uint32 {
	d = max(d, 0)
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return uint32(min(ms, math.MaxUint32))
}

// FromMilliseconds is how long a number of milliseconds is.
func FromMilliseconds[N uint32 | uint64](ms N) time.Duration {
	return time.Duration(min(uint64(ms), math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
}
