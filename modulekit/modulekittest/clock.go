package modulekittest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/modulebus/modulebus/internal/kitopts"
)

// clock is the time of the module's looping background calls. It stands still but for [Homeserver.Advance].
type clock struct {
	mu     sync.Mutex
	now    time.Duration // since the start
	follow bool          // another worker leads
	loops  []*looping
}

// looping is a background call, and when it is due.
type looping struct {
	kitopts.Loop
	due time.Duration
}

func (c *clock) start(loops []kitopts.Loop) {
	for _, l := range loops {
		c.loops = append(c.loops, &looping{l, l.Every})
	}
}

// Advance lets time pass for the module's looping background calls, and for nothing else: it makes those that are due
// meanwhile, in order and one after the other, and returns when they have. Errors and panics are logged, as on a bus.
func (h *Homeserver) Advance(ctx context.Context, d time.Duration) {
	h.clock.mu.Lock()
	defer h.clock.mu.Unlock()
	end := h.clock.now + d
	for l := h.clock.next(end); l != nil; l = h.clock.next(end) {
		h.clock.now = l.due
		l.due += l.Every
		if l.All || !h.clock.follow {
			l.Call(ctx)
		}
	}
	h.clock.now = end
}

// Lead says whether the worker under test is the one that leads, on which [modulekit.ModuleAPI.LoopingBackgroundCall]
// calls. It does from the start.
func (h *Homeserver) Lead(leads bool) {
	h.clock.mu.Lock()
	defer h.clock.mu.Unlock()
	h.clock.follow = !leads
}

// next returns the loop that is due first, until the end; nil if none is.
func (c *clock) next(end time.Duration) *looping {
	if len(c.loops) == 0 {
		return nil
	}
	first := slices.MinFunc(c.loops, func(a, b *looping) int { return int(a.due - b.due) })
	if first.due > end {
		return nil
	}
	return first
}
