package responder

import "sync"

// inFlight is the requests that are being served, so that they can be cancelled by their names. To look for a name takes longer
// the more there are; to be there takes hardly any time, and hardly any request is cancelled. The zero value is ready, and its methods may
// be called concurrently.
type inFlight struct{ shards [16]shard }

// shard is a list of requests.
type shard struct {
	mu    sync.Mutex
	first *Request
}

// shard is where a request of that name is. Its end tells apart requests of one message, and what is before that the messages.
func (f *inFlight) shard(name string) *shard {
	sum := byte(0)
	for i := max(0, len(name)-4); i < len(name); i++ {
		sum = sum*3 + name[i]
	}
	return &f.shards[int(sum)%len(f.shards)]
}

func (f *inFlight) add(r *Request) {
	s := f.shard(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.next = s.first; r.next != nil {
		r.next.before = r
	}
	s.first, r.listed = r, true
}

// remove takes a request out of the list, if it is there.
func (f *inFlight) remove(r *Request) {
	s := f.shard(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !r.listed {
		return
	}
	if r.before != nil {
		r.before.next = r.next
	} else {
		s.first = r.next
	}
	if r.next != nil {
		r.next.before = r.before
	}
	r.before, r.next, r.listed = nil, nil, false
}

// cancel ends the contexts of the requests of a name that are being served here.
func (f *inFlight) cancel(name string) {
	for _, r := range f.named(name) {
		r.cancel()
	}
}

func (f *inFlight) named(name string) (all []*Request) {
	s := f.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := s.first; r != nil; r = r.next {
		if r.name == name {
			all = append(all, r)
		}
	}
	return all
}
