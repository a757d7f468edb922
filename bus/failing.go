package bus

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Failing is a callback of a module that failed when it was last asked.
type Failing struct {
	Module   string
	Callback *subjects.Declaration
	Kind     rosterv1.FailureKind // of the last failure; BREAKER_OPEN only if there was no other
	Text     string               // for the operator; may be empty
	At       time.Time            // of the last question that the module was asked and failed
	InARow   int                  // failures since it last answered, including asks that its open breaker kept from it
	Open     bool                 // its breaker is open: it is not asked at the moment
}

// Failing returns the callbacks of modules on the roster that failed when they were last asked, in roster order of each
// callback. A module that has not been asked is not failing. It may be called concurrently, and does not block.
func (c *Client) Failing() (all []Failing) {
	now := time.Now()
	r := c.roster.Load()
	for _, p := range r.plans {
		if p == nil {
			continue
		}
		for s := range p.steps {
			step := &p.steps[s]
			if f, failing := step.streak.failing(); failing {
				f.Module, f.Callback, f.Open = step.module, p.callback.Declaration, step.breaker.isOpen(now)
				all = append(all, f)
			}
		}
	}
	return all
}

// streak counts the failures of a module's callback since the module last answered it, and remembers whether a part
// of an answer was ever ignored. Its methods may be called concurrently.
type streak struct {
	broken  atomic.Bool // it has failed since it last answered; until then no method locks
	skipped atomic.Bool // a part of an answer was ignored, and that is logged

	mu   sync.Mutex
	last Failing
}

func (s *streak) answered() {
	if !s.broken.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = Failing{}
	s.broken.Store(false)
}

func (s *streak) failed(f *wire.Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last.InARow++
	if f.Kind != rosterv1.FailureKind_BREAKER_OPEN || s.last.Kind == rosterv1.FailureKind_FAILURE_KIND_UNSPECIFIED {
		s.last.Kind, s.last.Text, s.last.At = f.Kind, f.Text, time.Now()
	}
	s.broken.Store(true)
}

// firstSkip notes that a part of an answer was ignored, and reports whether it is the first time.
func (s *streak) firstSkip() bool { return !s.skipped.Swap(true) }

func (s *streak) failing() (Failing, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.last.InARow > 0
}
