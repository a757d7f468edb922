package bus

import "sync/atomic"

// hedges is the budget of second requests: one for ten answers, so that hedging cannot double the load of a module that
// is slow everywhere.
type hedges struct{ earned atomic.Int64 }

const (
	hedgeCost  = 10
	hedgeSaved = 100 * hedgeCost // at most
)

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
