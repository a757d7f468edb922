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
func (s *shares) admit(m *nats.Msg, busy *atomic.Int32, limit int32) bool {
	of := s.of(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if busy.Load() >= limit && s.taken[of] >= s.each {
		return false
	}
	busy.Add(1)
	s.taken[of]++
	return true
}

func (s *shares) release(m *nats.Msg) {
	of := s.of(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[of]--; s.taken[of] == 0 {
		delete(s.taken, of)
	}
}
