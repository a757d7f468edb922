package responder

import (
	"hash/maphash"
	"sync"
)

// inFlight is the requests that are being served, each by a name that no other has, so that they can be cancelled. The
// zero value is ready, and its methods may be called concurrently.
type inFlight struct{ shards [8]shard }

type shard struct {
	mu       sync.Mutex
	requests map[string]*Request
}

var seed = maphash.MakeSeed()

func (f *inFlight) shard(name string) *shard {
	return &f.shards[maphash.String(seed, name)%uint64(len(f.shards))]
}

func (f *inFlight) add(r *Request) {
	s := f.shard(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests == nil {
		s.requests = map[string]*Request{}
	}
	s.requests[r.name] = r
}

func (f *inFlight) remove(r *Request) {
	s := f.shard(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests[r.name] == r {
		delete(s.requests, r.name)
	}
}

// cancel ends the context of a request, if it is being served here.
func (f *inFlight) cancel(name string) {
	s := f.shard(name)
	s.mu.Lock()
	r := s.requests[name]
	s.mu.Unlock()
	if r != nil {
		r.cancel()
	}
}
