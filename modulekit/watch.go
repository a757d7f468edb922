package modulekit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/modulebus/modulebus/internal/kitopts"
)

// watch is one [Store.Watch].
type watch struct {
	store *Store
	dirty *dirty
	seen  map[string]uint64 // revision by key, for keys that were yielded and not deleted
	yield func(Entry) bool
	done  bool // the reader wants no more
}

func (w *watch) run(ctx context.Context) {
	defer w.dirty.close()
	listening := false
	for !w.done && ctx.Err() == nil {
		if !listening {
			listening = w.try(ctx, w.store.bucket.Watch(ctx, w.dirty.hint))
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

// try reports whether err is nil. If not, it logs the error and waits.
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
		e, err := w.get(ctx, key)
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

// get gets a key with a shorter timeout than usual, because a lost message is asked for again.
func (w *watch) get(ctx context.Context, key string) (kitopts.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, retry)
	defer cancel()
	return w.store.bucket.Get(ctx, key)
}

// list yields the entries that were not yielded yet, and a deletion for each key that was yielded and is gone.
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

// tell yields an entry unless it was yielded before. A smaller revision is that of a store that was made anew.
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

// maxDirty is how many changed keys of a store a watch remembers, to look at them one by one. Beyond: the whole store is listed.
const maxDirty = 1024

// dirty is the set of keys that a watch must look at.
type dirty struct {
	wake chan struct{}

	mu   sync.Mutex
	keys map[string]bool
	all  bool

	unsettled map[string]*settling // by key
}

// settling is a key that is looked at several times: a hint can arrive before the write that it announces can be read.
type settling struct {
	stage int
	timer *time.Timer
}

// settleAfter is how long after the last look a key is looked at again, for each look after a hint.
var settleAfter = []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second}

// hint marks a key now, and again after each pause of settleAfter. It does not block.
func (d *dirty) hint(key string) {
	d.mark(key)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unsettled == nil {
		return // It is closed.
	}
	if len(d.unsettled) >= maxDirty {
		key = ""
	}
	if s := d.unsettled[key]; s != nil {
		s.stage = 0
		s.timer.Reset(settleAfter[0])
		return
	}
	d.unsettled[key] = &settling{timer: time.AfterFunc(settleAfter[0], func() { d.again(key) })}
}

func (d *dirty) again(key string) {
	d.mark(key)
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.unsettled[key]
	if s == nil {
		return
	}
	if s.stage++; s.stage == len(settleAfter) {
		delete(d.unsettled, key)
		return
	}
	s.timer.Reset(settleAfter[s.stage])
}

func (d *dirty) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.unsettled {
		s.timer.Stop()
	}
	d.unsettled = nil
}

func newDirty() *dirty {
	return &dirty{wake: make(chan struct{}, 1), keys: map[string]bool{}, unsettled: map[string]*settling{}}
}

// mark remembers a key, or all keys if it is empty. It does not block.
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
