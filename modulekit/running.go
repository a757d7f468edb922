package modulekit

import (
	"context"
	"hash/maphash"
	"sync"
)

// running are the requests under way, by their reply subjects, so that they can be cancelled. The zero value is ready.
type running struct{ shards [8]runningShard }

type runningShard struct {
	mu      sync.Mutex
	cancels map[string]context.CancelFunc
}

var seed = maphash.MakeSeed()

func (r *running) shard(reply string) *runningShard {
	return &r.shards[maphash.String(seed, reply)%uint64(len(r.shards))]
}

// add makes a request one that can be cancelled, until the returned function is called.
func (r *running) add(reply string, cancel context.CancelFunc) (remove func()) {
	s := r.shard(reply)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancels == nil {
		s.cancels = map[string]context.CancelFunc{}
	}
	s.cancels[reply] = cancel
	return func() {
		s.mu.Lock()
		delete(s.cancels, reply)
		s.mu.Unlock()
	}
}

// cancel ends the context of a request, if it is under way here. Another worker of the module may have it.
func (r *running) cancel(reply string) {
	s := r.shard(reply)
	s.mu.Lock()
	cancel := s.cancels[reply]
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
