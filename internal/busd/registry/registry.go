package registry

import (
	"cmp"
	"fmt"
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
	maxWorkers  = 1024 // of one module; more are turned away
	maxWorker   = 128  // bytes of a worker's name
)

// Registry is the roster as it is. Its methods may be called concurrently.
type Registry struct {
	mu         sync.Mutex
	budget     time.Duration
	sequential []string
	listed     []*module
	unlisted   map[string]*module
	roster     *rosterv1.Roster
}

// module is what is known of one module.
type module struct {
	config.Module
	workers map[string]worker
	asked   time.Time      // when it last wanted its entry, while it is not listed
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
func New() *Registry {
	return &Registry{unlisted: map[string]*module{}, roster: &rosterv1.Roster{}}
}

// Evaluate takes over which callbacks are evaluated sequentially: see [config.Config]. It counts from the next Configure
// on.
func (r *Registry) Evaluate(sequential []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sequential = sequential
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
		m, known := old[c.Name]
		if !known {
			m = r.enlist(c.Name)
		}
		before := r.entry(m)
		m.Module = c
		after := r.entry(m)
		if after.GetConfigRevision() != before.GetConfigRevision() {
			m.refused, m.crash = nil, ""
		}
		if !known || !proto.Equal(before, after) {
			changed = append(changed, c.Name)
		}
		r.listed = append(r.listed, m)
		delete(old, c.Name)
	}
	for name, m := range old {
		r.delist(name, m)
	}
	r.update(now)
	return changed
}

// delist keeps in sight what is not listed any more and still there.
func (r *Registry) delist(name string, m *module) {
	if len(m.workers) > 0 && len(r.unlisted) < maxUnlisted {
		m.Module = config.Module{Name: name}
		m.refused, m.crash = nil, ""
		r.unlisted[name] = m
	}
}

// Recall takes from an earlier roster what listed modules registered that have not joined here yet: another busd's, when
// this one has just started. It is called after Configure.
func (r *Registry) Recall(earlier *rosterv1.Roster, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range earlier.GetModules() {
		if m := r.find(e.GetName()); m != nil && len(m.workers) == 0 {
			m.last, _ = r.accept(registered(e))
		}
	}
	r.roster = &rosterv1.Roster{Revision: max(r.roster.GetRevision(), earlier.GetRevision())}
	r.update(now)
}

// registered is the Join that made a module's part of a roster.
func registered(m *rosterv1.Module) *rosterv1.Join {
	j := &rosterv1.Join{WebResources: m.GetWebResources(), Json: m.GetJson(), Needs: map[string]*rosterv1.Needs{}}
	for _, i := range m.GetCallbacks() {
		j.Callbacks = append(j.Callbacks, i.GetCallback())
		j.Needs[i.GetCallback()] = i.GetNeeds()
	}
	return j
}

// Expects reports whether a listed module may still join of which nothing is known: one that busd runs, or one that it
// does not. One that was refused, or crashed, is not expected.
func (r *Registry) Expects(run bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.listed, func(m *module) bool {
		return (len(m.Run) > 0) == run && !m.known() && m.state() != Failed
	})
}

// known reports whether it has said what it is for.
func (m *module) known() bool {
	return len(m.workers) > 0 || len(m.last.GetCallbacks())+len(m.last.GetWebResources()) > 0
}

// enlist returns a module that was not listed so far, with what is known of it.
func (r *Registry) enlist(name string) *module {
	m := r.unlisted[name]
	delete(r.unlisted, name)
	if m == nil {
		m = &module{workers: map[string]worker{}, last: &rosterv1.Join{}}
	}
	m.asked = time.Time{}
	return m
}

// Entry returns what the operator says of a module. One that asks and is not listed is remembered, to be reported.
func (r *Registry) Entry(name string, now time.Time) *rosterv1.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.find(name); m != nil {
		return r.entry(m)
	}
	if m := r.guest(name); m != nil {
		m.asked = now
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
		TimeoutMs:      milliseconds(m.Timeout),
		JoinEveryMs:    milliseconds(JoinEvery),
	}
	for name, o := range m.Callbacks {
		e.TimeoutsMs[name] = milliseconds(cmp.Or(o.Timeout, m.Timeout))
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
	if problem := m.room(j.GetWorker()); problem != "" {
		problems = append(problems, problem)
	} else {
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

// room says why a worker with that name cannot be one of the module's, or nothing.
func (m *module) room(worker string) string {
	switch {
	case worker == "" || len(worker) > maxWorker:
		return fmt.Sprintf("a worker needs a name of 1 to %d bytes, so this one does not count", maxWorker)
	case len(m.workers) >= maxWorkers && m.workers[worker].join == nil:
		return fmt.Sprintf("module %s has %d workers, so this one does not count", m.Name, maxWorkers)
	}
	return ""
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
	all, latest := &rosterv1.Join{Needs: map[string]*rosterv1.Needs{}}, worker{}
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		w := m.workers[id]
		all.Callbacks = append(all.Callbacks, w.join.GetCallbacks()...)
		all.WebResources = append(all.WebResources, w.join.GetWebResources()...)
		all.Json = all.Json || w.join.GetJson() // Whoever does not want it reads it all the same.
		for name, needs := range w.join.GetNeeds() {
			all.Needs[name] = uniteNeeds(all.Needs[name], needs)
		}
		if latest.join == nil || w.seen.After(latest.seen) {
			latest = w
		}
	}
	slices.Sort(all.Callbacks)
	slices.Sort(all.WebResources)
	all.Callbacks, all.WebResources = slices.Compact(all.Callbacks), slices.Compact(all.WebResources)
	all.Version = latest.join.GetVersion()
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
		if now.Sub(m.asked) > Lifetime {
			m.asked = time.Time{}
		}
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
	if r.unlisted[m.Name] == m && len(m.workers) == 0 && m.asked.IsZero() {
		delete(r.unlisted, m.Name)
	}
}

// Roster returns the roster as it is. It is never changed.
func (r *Registry) Roster() *rosterv1.Roster {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roster
}
