package modulekittest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/modulekit"
)

// bucket is a store in memory.
type bucket struct {
	mu       sync.Mutex
	revision uint64
	entries  map[string][]kitopts.Entry // by key, the oldest first
	watchers []watcher
	full     bool
}

type watcher struct {
	ctx     context.Context //nolint:containedctx // The watcher watches until it ends.
	changed func(key string)
}

func newBucket() *bucket { return &bucket{entries: map[string][]kitopts.Entry{}} }

// Store returns the module's store, so that the test can read and write it. It exists before the module opens it.
func (h *Homeserver) Store() *Store { return &Store{h.host.bucket} }

// Store is a module's store as a test sees it.
type Store struct{ bucket *bucket }

// Put sets the value of a key.
func (s *Store) Put(key, value string) {
	_, _ = s.bucket.Write(context.Background(), key, kitopts.Write{Value: []byte(value)}) // It replaces any value, so there is no conflict.
}

// SetFull makes the store full, or no longer full. In a full store, the module's writes return [modulekit.ErrStoreFull], and only
// deletions succeed.
func (s *Store) SetFull(full bool) {
	s.bucket.mu.Lock()
	defer s.bucket.mu.Unlock()
	s.bucket.full = full
}

// Get returns the value of a key, and whether there is one.
func (s *Store) Get(key string) (value string, ok bool) {
	e, err := s.bucket.Get(context.Background(), key)
	return string(e.Value), err == nil
}

// Get implements [kitopts.Bucket].
func (b *bucket) Get(ctx context.Context, key string) (kitopts.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.last(key)
	if e.Revision == 0 || e.Deleted {
		return kitopts.Entry{}, modulekit.ErrKeyNotFound
	}
	return e, ctx.Err()
}

func (b *bucket) last(key string) kitopts.Entry {
	if all := b.entries[key]; len(all) > 0 {
		return all[len(all)-1]
	}
	return kitopts.Entry{}
}

// Write implements [kitopts.Bucket].
func (b *bucket) Write(ctx context.Context, key string, w kitopts.Write) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full && !w.Delete {
		return 0, modulekit.ErrStoreFull
	}
	last := b.last(key)
	fresh := w.After != nil && *w.After == 0 && last.Deleted
	if w.After != nil && *w.After != last.Revision && !fresh {
		return 0, modulekit.ErrConflict
	}
	b.revision++
	e := kitopts.Entry{Key: key, Revision: b.revision, Created: time.Now(), Deleted: w.Delete}
	if !w.Delete {
		e.Value = slices.Clone(w.Value)
	}
	kept := slices.Concat(b.entries[key], []kitopts.Entry{e})
	b.entries[key] = kept[max(0, len(kept)-modulekit.StoreHistory):]
	b.tell(key)
	return b.revision, nil
}

func (b *bucket) tell(key string) {
	b.watchers = slices.DeleteFunc(b.watchers, func(w watcher) bool { return w.ctx.Err() != nil })
	for _, w := range b.watchers {
		w.changed(key)
	}
}

// Last implements [kitopts.Bucket].
func (b *bucket) Last(ctx context.Context) ([]kitopts.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var last []kitopts.Entry
	for key := range b.entries {
		last = append(last, b.last(key))
	}
	return last, ctx.Err()
}

// History implements [kitopts.Bucket].
func (b *bucket) History(ctx context.Context, key string) ([]kitopts.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.entries[key]), ctx.Err()
}

// Watch implements [kitopts.Bucket].
func (b *bucket) Watch(ctx context.Context, changed func(key string)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers = append(b.watchers, watcher{ctx, changed})
	return ctx.Err()
}
