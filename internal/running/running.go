// Package running keeps the requests that are under way in a process, so that they can be cancelled.
package running

import (
	"context"
	"hash/maphash"
	"sync"
)

// Set is the requests under way, each by a name that nobody else has. The zero value is ready, and its methods may be
// called concurrently.
type Set struct{ shards [8]shard }

type shard struct {
	mu      sync.Mutex
	cancels map[string]context.CancelFunc
}

var seed = maphash.MakeSeed()

func (r *Set) shard(name string) *shard {
	return &r.shards[maphash.String(seed, name)%uint64(len(r.shards))]
}

// Add makes a request one that can be cancelled, until the returned function is called.
func (r *Set) Add(name string, cancel context.CancelFunc) (remove func()) {
	s := r.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancels == nil {
		s.cancels = map[string]context.CancelFunc{}
	}
	s.cancels[name] = cancel
	return func() {
		s.mu.Lock()
		delete(s.cancels, name)
		s.mu.Unlock()
	}
}

// Cancel ends the context of a request, if it is under way here.
func (r *Set) Cancel(name string) {
	s := r.shard(name)
	s.mu.Lock()
	cancel := s.cancels[name]
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
