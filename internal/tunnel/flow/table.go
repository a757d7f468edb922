package flow

import (
	"hash/maphash"
	"sync"
)

// Table finds streams by their tokens.
type Table[S any] struct {
	seed   maphash.Seed
	shards [16]struct {
		sync.Mutex
		streams map[string]S
	}
}

// NewTable returns an empty table.
func NewTable[S any]() *Table[S] {
	t := &Table[S]{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].streams = map[string]S{}
	}
	return t
}

func (t *Table[S]) shard(token string) int {
	return int(maphash.String(t.seed, token) % uint64(len(t.shards)))
}

// Add adds a stream, or replaces the one with the token.
func (t *Table[S]) Add(token string, s S) {
	shard := &t.shards[t.shard(token)]
	shard.Lock()
	defer shard.Unlock()
	shard.streams[token] = s
}

// Find returns the stream with the token, if there is one.
func (t *Table[S]) Find(token string) (s S, ok bool) {
	shard := &t.shards[t.shard(token)]
	shard.Lock()
	defer shard.Unlock()
	s, ok = shard.streams[token]
	return s, ok
}

// Remove removes the stream with the token.
func (t *Table[S]) Remove(token string) {
	shard := &t.shards[t.shard(token)]
	shard.Lock()
	defer shard.Unlock()
	delete(shard.streams, token)
}

// All returns the streams there are.
func (t *Table[S]) All() (all []S) {
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
