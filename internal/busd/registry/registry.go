package registry

import (
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	// JoinEvery is how often workers join again.
	JoinEvery = 5 * time.Second

	// Lifetime is how long a worker counts as there after it last joined.
	Lifetime = 3 * JoinEvery
)

const (
	maxUnlisted = 64   // modules that join without being listed; more are not remembered
	maxWorkers  = 4096 // of one module; more are turned away
)

// Registry is the roster as it is. Its methods may be called concurrently.
type Registry struct {
	catalogue config.Catalogue

	mu       sync.Mutex
	budget   time.Duration
	listed   []*module
	unlisted map[string]*module
	roster   *rosterv1.Roster
}

// module is what is known of one module.
type module struct {
	config.Module
	workers map[string]worker
	last    *rosterv1.Join // what its workers register; while there are none, what the last ones did
	refused *rosterv1.ConfigError
	crash   string            // why its last process ended
	lost    map[string]string // paths that are an earlier module's, and whose
}

// worker is one that has joined.
type worker struct {
	join *rosterv1.Join
	seen time.Time
}

// New returns a registry with nobody listed.
func New(catalogue config.Catalogue) *Registry {
	return &Registry{catalogue: catalogue, unlisted: map[string]*module{}, roster: &rosterv1.Roster{}}
}

// Configure takes over the operator's list. Who had joined stays joined. It returns the modules that are new or whose
// entry has changed.
func (r *Registry) Configure(modules []config.Module, budget time.Duration, now time.Time) (changed []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := map[string]*module{}
	for _, m := range r.listed {
		old[m.Name] = m
	}
	r.budget, r.listed = budget, nil
	for _, c := range modules {
		m := old[c.Name]
		if m == nil {
			m = r.enlist(c.Name)
		}
		before := r.entry(m)
		m.Module = c
		if old[c.Name] == nil || !proto.Equal(before, r.entry(m)) {
			m.refused, m.crash = nil, ""
			changed = append(changed, c.Name)
		}
		r.listed = append(r.listed, m)
	}
	r.update(now)
	return changed
}

// enlist returns a module that was not listed so far, with what is known of it.
func (r *Registry) enlist(name string) *module {
	m := r.unlisted[name]
	delete(r.unlisted, name)
	if m == nil {
		m = &module{workers: map[string]worker{}, last: &rosterv1.Join{}}
	}
	return m
}

// Entry returns what the operator says of a module.
func (r *Registry) Entry(name string) *rosterv1.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.find(name); m != nil {
		return r.entry(m)
	}
	return &rosterv1.Entry{}
}

func (r *Registry) find(name string) *module {
	i := slices.IndexFunc(r.listed, func(m *module) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return r.listed[i]
}

func (r *Registry) entry(m *module) *rosterv1.Entry {
	e := &rosterv1.Entry{
		Listed:         true,
		ConfigRevision: revisionOf(m.Config),
		Config:         m.Config,
		TimeoutsMs:     map[string]uint32{},
		TimeoutMs:      uint32(m.Timeout.Milliseconds()),
		JoinEveryMs:    uint32(JoinEvery.Milliseconds()),
	}
	for name := range m.Callbacks {
		e.TimeoutsMs[name] = uint32(m.TimeoutOf(name).Milliseconds())
	}
	return e
}

// revisionOf is the same for the same config, on every busd.
func revisionOf(config []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(config) // It never fails.
	return h.Sum64()
}

// Join takes in what a worker says of itself. The reply names what of it is not accepted.
func (r *Registry) Join(name string, j *rosterv1.Join, now time.Time) *rosterv1.Joined {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.find(name)
	listed := m != nil
	if m == nil {
		if m = r.guest(name); m == nil {
			return &rosterv1.Joined{}
		}
	}
	j, problems := r.accept(j)
	if len(m.workers) < maxWorkers || m.workers[j.GetWorker()].join != nil {
		m.join(j, now)
	}
	r.update(now)
	return &rosterv1.Joined{Listed: listed, Problems: append(problems, m.problems()...)}
}

// guest returns a module that joins without being listed, to be reported, or nil when there are too many.
func (r *Registry) guest(name string) *module {
	m := r.unlisted[name]
	if m == nil && len(r.unlisted) < maxUnlisted {
		m = &module{Module: config.Module{Name: name}, workers: map[string]worker{}, last: &rosterv1.Join{}}
		r.unlisted[name] = m
	}
	return m
}

// join makes the worker one of the module's. One whose configuration was refused before it registered anything is none.
func (m *module) join(j *rosterv1.Join, now time.Time) {
	m.refused = j.GetConfigError()
	if m.refused != nil && len(j.GetCallbacks())+len(j.GetWebResources()) == 0 {
		delete(m.workers, j.GetWorker())
		return
	}
	m.crash = ""
	m.workers[j.GetWorker()] = worker{j, now}
	m.last = m.together()
}

// together is what the workers register, all of them.
func (m *module) together() *rosterv1.Join {
	if len(m.workers) == 0 {
		return m.last
	}
	all, latest := &rosterv1.Join{}, worker{}
	for _, w := range m.workers {
		all.Callbacks = append(all.Callbacks, w.join.GetCallbacks()...)
		all.WebResources = append(all.WebResources, w.join.GetWebResources()...)
		if latest.join == nil || w.seen.After(latest.seen) {
			latest = w
		}
	}
	slices.Sort(all.Callbacks)
	slices.Sort(all.WebResources)
	all.Callbacks, all.WebResources = slices.Compact(all.Callbacks), slices.Compact(all.WebResources)
	all.Version, all.Json, all.Needs = latest.join.GetVersion(), latest.join.GetJson(), map[string]*rosterv1.Needs{}
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		for name, needs := range m.workers[id].join.GetNeeds() {
			all.Needs[name] = uniteNeeds(all.Needs[name], needs)
		}
	}
	return all
}

// Leave takes a worker out that takes no more work, or is known to have died.
func (r *Registry) Leave(name, worker string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.find(name)
	if m == nil {
		m = r.unlisted[name]
	}
	if m != nil {
		r.drop(m, func(id string) bool { return id == worker })
		r.update(now)
	}
}

// Crashed says why a module's process ended; empty for a process that has started.
func (r *Registry) Crashed(name, why string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.find(name); m != nil {
		m.crash = why
		r.update(now)
	}
}

// Expire takes out the workers that have not joined again in time.
func (r *Registry) Expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.all() {
		r.drop(m, func(id string) bool { return now.Sub(m.workers[id].seen) > Lifetime })
	}
	r.update(now)
}

func (r *Registry) all() []*module {
	all := slices.Clone(r.listed)
	for _, m := range r.unlisted {
		all = append(all, m)
	}
	return all
}

func (r *Registry) drop(m *module, gone func(id string) bool) {
	for id := range m.workers {
		if gone(id) {
			delete(m.workers, id)
		}
	}
	m.last = m.together()
	if r.unlisted[m.Name] == m && len(m.workers) == 0 {
		delete(r.unlisted, m.Name)
	}
}

// Roster returns the roster as it is. It is never changed.
func (r *Registry) Roster() *rosterv1.Roster {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roster
}
