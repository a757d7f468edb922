package policyserver

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// maxWaiting is how many look-ups of one kind may run or wait. Beyond: a look-up fails.
const maxWaiting = 2048

var (
	errMany  = errors.New("too much is being looked up at once")
	errEnded = errors.New("the policy server is closed")
)

// memo remembers what load returned for a key, for as long as load said. Concurrent calls for a key share one load.
// Methods may be called concurrently; close ends loads under way, and waits for them.
type memo[K comparable, V any] struct {
	most   int           // entries. Beyond: the oldest is removed
	places chan struct{} // a place for each load at once. Beyond: they wait
	time   time.Duration // of one load. Beyond: its context ends

	mu      sync.Mutex
	entries map[K]*list.Element // of *entry[K, V]
	order   list.List           // the oldest first
	loading int
	ended   bool
	ctx     context.Context //nolint:containedctx // It is the memo's life, not a call's.
	end     context.CancelFunc
	loads   sync.WaitGroup
}

type entry[K comparable, V any] struct {
	key    K
	loaded chan struct{} // closed when the other fields are set
	value  V
	until  time.Time
}

// load returns the value of a key, and how long it may be remembered.
type load[V any] = func(context.Context) (V, time.Duration)

func newMemo[K comparable, V any](most, atOnce int, limit time.Duration) *memo[K, V] {
	m := &memo[K, V]{most: most, places: make(chan struct{}, atOnce), time: limit, entries: map[K]*list.Element{}}
	m.ctx, m.end = context.WithCancel(context.Background()) //nolint:gosec // close calls it.
	return m
}

// get returns the remembered value, or what load returns. It waits at most until ctx ends; the load then goes on, for
// later calls.
func (m *memo[K, V]) get(ctx context.Context, key K, f load[V]) (V, error) {
	e, begins, err := m.entry(key)
	if begins {
		go m.finish(e, f)
	}
	return e.await(ctx, err)
}

// do is get, but that the caller itself loads, if a place is free: ctx does not end that. It saves a goroutine, whose stack would grow first.
func (m *memo[K, V]) do(ctx context.Context, key K, f load[V]) (V, error) {
	e, begins, err := m.entry(key)
	if begins {
		select {
		case m.places <- struct{}{}:
			m.load(e, f)
		default:
			go m.finish(e, f)
		}
	}
	return e.await(ctx, err)
}

// begin begins to load a key, unless it is remembered, and does not wait.
func (m *memo[K, V]) begin(key K, f load[V]) {
	if e, begins, _ := m.entry(key); begins { // A caller that waits gets the error.
		go m.finish(e, f)
	}
}

// entry returns the entry of a key. If it begins there, the caller must load it.
func (m *memo[K, V]) entry(key K) (e *entry[K, V], begins bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.entries[key]; ok {
		if e := at.Value.(*entry[K, V]); e.holds(time.Now()) {
			return e, false, nil
		}
		m.drop(at)
	}
	switch {
	case m.ended:
		return nil, false, errEnded
	case m.loading >= maxWaiting:
		return nil, false, errMany
	}
	e = &entry[K, V]{key: key, loaded: make(chan struct{})}
	m.add(e)
	m.loading++
	m.loads.Add(1)
	return e, true, nil
}

// await returns the value when it is loaded; or at once the error with which there is no entry.
func (e *entry[K, V]) await(ctx context.Context, err error) (value V, _ error) {
	if err != nil {
		return value, err
	}
	select {
	case <-e.loaded:
		return e.value, nil
	case <-ctx.Done():
		return value, ctx.Err()
	}
}

func (e *entry[K, V]) holds(now time.Time) bool {
	select {
	case <-e.loaded:
		return now.Before(e.until)
	default:
		return true
	}
}

// add adds the entry, and makes room for it. The caller holds the lock.
func (m *memo[K, V]) add(e *entry[K, V]) {
	for m.order.Len() >= m.most {
		m.drop(m.order.Front())
	}
	m.entries[e.key] = m.order.PushBack(e)
}

func (m *memo[K, V]) drop(at *list.Element) {
	delete(m.entries, m.order.Remove(at).(*entry[K, V]).key)
}

// finish waits for a place, and loads.
func (m *memo[K, V]) finish(e *entry[K, V], f load[V]) {
	m.places <- struct{}{} // Each load returns its place within the time for one.
	m.load(e, f)
}

// load loads an entry. The caller has taken a place for it.
func (m *memo[K, V]) load(e *entry[K, V], f load[V]) {
	defer m.loads.Done()
	ctx, cancel := context.WithTimeout(m.ctx, m.time)
	defer cancel()
	var keep time.Duration
	defer func() { // Also where f panics: the server that calls do survives that, and the next caller loads again.
		<-m.places
		m.mu.Lock()
		defer m.mu.Unlock()
		m.loading--
		e.until = time.Now().Add(keep)
		close(e.loaded)
	}()
	e.value, keep = f(ctx)
}

// set remembers a value without a load, for the time keep.
func (m *memo[K, V]) set(key K, value V, keep time.Duration) {
	e := &entry[K, V]{key: key, loaded: make(chan struct{}), value: value, until: time.Now().Add(keep)}
	close(e.loaded)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(key)
	m.add(e)
}

// has reports whether the key has an entry: a value, even an expired one, or a load under way.
func (m *memo[K, V]) has(key K) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.entries[key]
	return ok
}

// forget makes the next call load the key.
func (m *memo[K, V]) forget(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(key)
}

// remove removes the key's entry, if there is one. The caller holds the lock.
func (m *memo[K, V]) remove(key K) {
	if at, ok := m.entries[key]; ok {
		m.drop(at)
	}
}

func (m *memo[K, V]) close() {
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	m.end()
	m.loads.Wait()
}
