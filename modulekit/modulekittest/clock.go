package modulekittest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/modulebus/modulebus/internal/kitopts"
)

// clock is the time of the module's looping background calls. Only [Homeserver.Advance] moves it.
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

// Advance lets time pass for the module's looping background calls, and for nothing else. It makes the calls that are
// due in that time, in order and one after the other, and returns when they have returned. Errors and panics are
// logged, as on a bus.
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

// Lead sets whether the worker under test is the one that leads, and so makes the calls of
// [modulekit.ModuleAPI.LoopingBackgroundCall]. At the start it leads.
func (h *Homeserver) Lead(leads bool) {
	h.clock.mu.Lock()
	defer h.clock.mu.Unlock()
	h.clock.follow = !leads
}

// next returns the loop that is due first; nil if none is due before end.
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
