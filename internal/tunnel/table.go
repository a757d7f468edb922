package tunnel

import (
	"hash/maphash"
	"sync"
)

// table finds streams by their tokens.
type table[S any] struct {
	seed   maphash.Seed
	shards [16]struct {
		sync.Mutex
		streams map[string]S
	}
}

func newTable[S any]() *table[S] {
	t := &table[S]{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].streams = map[string]S{}
	}
	return t
}

func (t *table[S]) shard(token string) int {
	return int(maphash.String(t.seed, token) % uint64(len(t.shards)))
}

func (t *table[S]) add(token string, s S) {
	shard := &t.shards[t.shard(token)]
	shard.Lock()
	defer shard.Unlock()
	shard.streams[token] = s
}

func (t *table[S]) find(token string) (s S, ok bool) {
	shard := &t.shards[t.shard(token)]
	shard.Lock()
	defer shard.Unlock()
	s, ok = shard.streams[token]
	return s, ok
}

func (t *table[S]) remove(token string) {
	shard := &t.shards[t.shard(token)]
	shard.Lock()
	defer shard.Unlock()
	delete(shard.streams, token)
}

// all returns the streams there are.
func (t *table[S]) all() (all []S) {
	for i := range t.shards {
		shard := &t.shards[i]
		shard.Lock()
		for _, s := range shard.streams {
			all = append(all, s)
		}
		shard.Unlock()
	}
	return all
}
