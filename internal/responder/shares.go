package responder

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// shares keep a few places for each requester, beyond those that are for all: so nobody can take the places of others.
type shares struct {
	of   func(*nats.Msg) string
	each int32

	mu    sync.Mutex
	taken map[string]int32 // places, by requester; only of those that have any
}

// admit takes a place for a request, and counts it in busy, if fewer than limit places are taken or the requester has one of its own left.
// It returns the requester, who may go by another name when the place is released.
func (s *shares) admit(m *nats.Msg, busy *atomic.Int32, limit int32) (by string, ok bool) {
	by = s.of(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if busy.Load() >= limit && s.taken[by] >= s.each {
		return by, false
	}
	busy.Add(1)
	s.taken[by]++
	return by, true
}

func (s *shares) release(by string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[by]--; s.taken[by] == 0 {
		delete(s.taken, by)
	}
}
