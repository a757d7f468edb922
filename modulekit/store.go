package modulekit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/kitopts"
)

// StoreHistory is how many values of each key a module's store keeps. Older ones are deleted.
const StoreHistory = 8

// Errors of a [Store], and of [ModuleAPI.KeyValue].
var (
	// ErrNoStore says that NATS has no JetStream, or that busd cannot make the store. The error that wraps it says why.
	ErrNoStore = errors.New("modulekit: the module has no store")

	// ErrKeyNotFound says that the store has no such key, or that it was deleted.
	ErrKeyNotFound = errors.New("modulekit: the store has no such key")

	// ErrStoreFull says that the module stores as much as busd lets it, so nothing was written. Deletions make room.
	ErrStoreFull = errors.New("modulekit: the store is full: delete what is not needed, or have nats.max_store in busd.yaml raised")

	// ErrConflict says that the key has another revision than expected, so nothing was written.
	ErrConflict = errors.New("modulekit: the key has changed meanwhile")
)

// Store is a module's own key-value store, which all its workers share. It takes the place of Synapse's
// run_db_interaction: it has compare-and-set ([Store.Create] and [Store.Update]), watches, and the last [StoreHistory]
// values of a key. A key has letters, digits and any of - _ / = . and neither begins nor ends with a dot; a value has at
// most the server's max_payload, 1 MiB by default, less a little for the key. All values that are kept together have at most
// nats.max_store of busd.yaml, 1 GiB by default: then [ErrStoreFull] is returned until something is deleted.
//
// A Store may be kept as long as the module runs. If the store was lost with a restart of busd, the next use makes a new, empty
// one. Methods may be called concurrently and block until NATS has answered or ctx ends.
type Store struct {
	bucket kitopts.Bucket
	log    *zerolog.Logger
}

// Entry is a value of a key, or that the key was deleted.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64    // of the store: later entries have larger ones
	Created  time.Time // by the server's clock
	Deleted  bool      // Value is nil then
}

// KeyValue opens the module's store. See [Store].
//
// The store is as durable as the JetStream that keeps it: replicated on a cluster of three or more, in busd's state_dir when
// NATS is inside busd, and lost with busd where that has no folder, of which busd warns in its log. JetStream acknowledges
// writes before they are synced to disk, so a power failure may lose the last of them: those of a second when NATS is inside
// busd, and of its sync_interval, 2 minutes by default, on an external NATS. KeyValue returns an error that wraps [ErrNoStore]
// if there is no store.
func (api *ModuleAPI) KeyValue(ctx context.Context) (*Store, error) {
	b, err := api.host.Bucket(ctx)
	if err != nil {
		return nil, err
	}
	return &Store{b, api.Log()}, nil
}

// Get returns the value of a key, or [ErrKeyNotFound].
func (s *Store) Get(ctx context.Context, key string) (Entry, error) {
	if err := checkKey(key); err != nil {
		return Entry{}, err
	}
	e, err := s.bucket.Get(ctx, key)
	return Entry(e), err
}

// Put sets the value of a key, whatever it was, and returns its revision.
func (s *Store) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return s.write(ctx, key, kitopts.Write{Value: value})
}

// Create sets the value of a key that has none, and returns its revision; [ErrConflict] if it has one.
func (s *Store) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return s.write(ctx, key, kitopts.Write{Value: value, After: new(uint64)})
}

// Update sets the value of a key that still has the revision, and returns its new one; [ErrConflict] if it has another.
func (s *Store) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return s.write(ctx, key, kitopts.Write{Value: value, After: &revision})
}

// Delete deletes a key, whatever its value is. Deleting a key that does not exist is not an error. Earlier values stay in its
// [Store.History], unless the store is full: then they go, too, which makes room.
func (s *Store) Delete(ctx context.Context, key string) error {
	_, err := s.write(ctx, key, kitopts.Write{Delete: true})
	return err
}

// DeleteRevision deletes a key that still has the revision; [ErrConflict] if it has another.
func (s *Store) DeleteRevision(ctx context.Context, key string, revision uint64) error {
	_, err := s.write(ctx, key, kitopts.Write{Delete: true, After: &revision})
	return err
}

func (s *Store) write(ctx context.Context, key string, w kitopts.Write) (uint64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	return s.bucket.Write(ctx, key, w)
}

// Keys returns all keys that have a value, sorted.
func (s *Store) Keys(ctx context.Context) ([]string, error) {
	last, err := s.bucket.Last(ctx)
	var keys []string
	for _, e := range last {
		if !e.Deleted {
			keys = append(keys, e.Key)
		}
	}
	slices.Sort(keys)
	return keys, err
}

// History returns the last [StoreHistory] entries of a key, deletions among them, the oldest first.
func (s *Store) History(ctx context.Context, key string) ([]Entry, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	kept, err := s.bucket.History(ctx, key)
	var entries []Entry
	for _, e := range kept {
		entries = append(entries, Entry(e))
	}
	return entries, err
}

// Watch yields the present value of each key, and then each change, including deletions, until ctx ends. Of several changes of
// a key in quick succession it may yield only the newest. It outlives reconnects. If the store was lost and made again, it
// yields a deletion for each key that is gone. While the store cannot be read, it tries again each second, and says so in
// the module's log.
func (s *Store) Watch(ctx context.Context) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		w := watch{store: s, dirty: newDirty(), seen: map[string]uint64{}, yield: yield}
		w.run(ctx)
	}
}

// checkKey returns an error for a text that is no key.
func checkKey(key string) error {
	legal := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_/=.", r)
	}
	if key == "" || strings.TrimLeftFunc(key, legal) != "" || slices.Contains(strings.Split(key, "."), "") {
		return fmt.Errorf("modulekit: key %q: a key has letters, digits and any of - _ / = and single dots between them", key)
	}
	return nil
}
