package modulekit

import (
	"context"
	"errors"
	"sync"
)

// watch is one [Store.Watch].
type watch struct {
	store *Store
	dirty *dirty
	seen  map[string]uint64 // revision by key, of those that were yielded and not deleted
	yield func(Entry) bool
	done  bool // the reader has enough
}

func (w *watch) run(ctx context.Context) {
	listening := false
	for !w.done && ctx.Err() == nil {
		if !listening {
			listening = w.try(ctx, w.store.bucket.Watch(ctx, w.dirty.mark))
			w.dirty.mark("")
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-w.dirty.wake:
		}
		keys, all := w.dirty.take()
		if !w.try(ctx, w.look(ctx, keys, all)) {
			w.dirty.mark("")
		}
	}
}

// try reports whether all is well; if not, it says so and waits.
func (w *watch) try(ctx context.Context, err error) (ok bool) {
	if err == nil || ctx.Err() != nil {
		return err == nil
	}
	w.store.log.Warn().Err(err).Msg("cannot watch the store: trying again")
	pause(ctx, retry)
	return false
}

func (w *watch) look(ctx context.Context, keys []string, all bool) error {
	if all {
		return w.list(ctx)
	}
	for _, key := range keys {
		e, err := w.store.bucket.Get(ctx, key)
		switch {
		case errors.Is(err, ErrKeyNotFound):
			w.gone(key)
		case err != nil:
			return err
		default:
			w.tell(Entry(e))
		}
	}
	return nil
}

// list yields what is there and was not yielded, and that what was yielded is gone.
func (w *watch) list(ctx context.Context) error {
	last, err := w.store.bucket.Last(ctx)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, e := range last {
		if !e.Deleted {
			there[e.Key] = true
			w.tell(Entry(e))
		}
	}
	for key := range w.seen {
		if !there[key] {
			w.gone(key)
		}
	}
	return nil
}

// tell yields an entry that was not yielded. A revision that is smaller is one of a store that was made anew.
func (w *watch) tell(e Entry) {
	if w.done || w.seen[e.Key] == e.Revision {
		return
	}
	w.seen[e.Key] = e.Revision
	w.done = !w.yield(e)
}

func (w *watch) gone(key string) {
	if _, known := w.seen[key]; !known || w.done {
		return
	}
	delete(w.seen, key)
	w.done = !w.yield(Entry{Key: key, Deleted: true})
}

// maxDirty is how many keys are remembered to be looked at one by one. Beyond: the whole store is listed.
const maxDirty = 1024

// dirty is the keys that a watch has to look at.
type dirty struct {
	wake chan struct{}

	mu   sync.Mutex
	keys map[string]bool
	all  bool
}

func newDirty() *dirty { return &dirty{wake: make(chan struct{}, 1), keys: map[string]bool{}} }

// mark remembers a key, or, if it is empty, all of them. It does not block.
func (d *dirty) mark(key string) {
	d.mu.Lock()
	if key == "" || len(d.keys) >= maxDirty {
		d.all = true
	} else {
		d.keys[key] = true
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default: // It will be looked at.
	}
}

func (d *dirty) take() (keys []string, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key := range d.keys {
		keys = append(keys, key)
	}
	all = d.all
	d.all = false
	clear(d.keys)
	return keys, all
}
