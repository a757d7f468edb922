package roster

import (
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	// JoinEvery is how often workers join again.
	JoinEvery = wire.JoinEvery

	// Lifetime is how long a worker counts as present after it last joined.
	Lifetime = 3 * JoinEvery
)

// Roster is the present roster. Its methods may be called concurrently.
type Roster struct {
	mu         sync.Mutex
	budget     time.Duration
	sequential []string
	listed     []*module
	unlisted   map[string]*module
	roster     *rosterv1.Roster
	room       int // bytes that the modules' parts of the roster may take
	made       int // how many of them were made
	failing    func() map[string][]Failing
	news       func() map[string]News
	list       uint64 // the revision of the operator's list: see listRevision
	others     Others
}

// New returns a roster without modules.
func New() *Roster {
	return &Roster{
		unlisted: map[string]*module{}, roster: &rosterv1.Roster{}, room: maxRoster,
		failing: func() map[string][]Failing { return nil }, news: func() map[string]News { return nil },
	}
}

// Evaluate sets which callbacks are evaluated sequentially: see [config.Config]. It takes effect with the next
// Configure.
func (r *Roster) Evaluate(sequential []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sequential = sequential
}

// Watch sets the function from which the status of modules gets what fails when they are asked, by module: see
// [Failing].
func (r *Roster) Watch(failing func() map[string][]Failing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = failing
}

// WatchNews sets the function from which the status of modules gets what news is stored for them, by module.
func (r *Roster) WatchNews(news func() map[string]News) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.news = news
}

// Configure applies the operator's list. Workers that had joined stay joined, and what listed modules registered stays
// known. It returns the modules that are new or whose entry has changed.
func (r *Roster) Configure(modules []config.Module, budget time.Duration, now time.Time) (changed []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := map[string]*module{}
	for _, m := range r.listed {
		old[m.Name] = m
	}
	r.budget, r.listed, r.list = budget, nil, listRevision(modules, budget, r.sequential)
	for _, c := range modules {
		m, known := old[c.Name]
		if !known {
			m = r.enlist(c.Name)
		}
		if m.configure(c, now) || !known {
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

// enlist returns a module that is new in the list, with what is known of it.
func (r *Roster) enlist(name string) *module {
	m := r.unlisted[name]
	delete(r.unlisted, name)
	if m == nil {
		m = newModule(name)
	}
	m.asked = time.Time{}
	return m
}

// delist makes a module that is no longer listed be reported as unlisted, as long as it has workers. When the last one
// leaves, what it registered is forgotten.
func (r *Roster) delist(name string, m *module) {
	if len(m.workers) > 0 && len(r.unlisted) < maxUnlisted {
		m.Module, m.stale = config.Module{Name: name}, true
		m.refused, m.crash = nil, ""
		r.unlisted[name] = m
	}
}

// Recall copies from an earlier roster what the listed modules registered that have not joined here yet. The earlier
// roster is the one in this busd's file, or another busd's. It must be called after Configure.
func (r *Roster) Recall(earlier *rosterv1.Roster, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range rosterwire.Modules(earlier) {
		if m := r.find(e.GetName()); m != nil && len(m.workers) == 0 {
			m.recall(e)
		}
	}
	if rosterwire.Plausible(earlier.GetRevision(), now) {
		r.roster = &rosterv1.Roster{Revision: max(r.roster.GetRevision(), earlier.GetRevision())}
	}
	r.update(now)
}

// Learn copies from another busd's roster what the listed modules registered of which nothing is known here. If the
// other roster knows less, this one is given a later revision, so that homeservers use this one.
func (r *Roster) Learn(other *rosterv1.Roster, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lesser := false
	for _, e := range rosterwire.Modules(other) {
		m := r.find(e.GetName())
		switch {
		case m == nil:
		case !m.known():
			m.recall(e)
		case !registered(e):
			lesser = lesser || !saysNothing(m.last)
		}
	}
	r.update(now)
	if revision := other.GetRevision(); lesser && revision >= r.roster.GetRevision() && rosterwire.Plausible(revision, now) {
		r.roster = &rosterv1.Roster{
			Revision: revision + 1, BudgetMs: r.roster.GetBudgetMs(), Sequential: r.roster.GetSequential(), Modules: r.roster.GetModules(),
			Shadows: r.roster.GetShadows(),
		}
	}
}

// registered reports whether a module's part of a roster has anything that it registered itself.
func registered(m *rosterv1.Module) bool {
	return len(m.GetWebResources())+len(m.GetDeclined()) > 0 ||
		slices.ContainsFunc(m.GetCallbacks(), func(i *rosterv1.Interest) bool { return !i.GetNamed() })
}

// Expectation says what busd waits for when it starts.
type Expectation int

const (
	// Started expects a worker of each module that busd runs.
	Started Expectation = iota
	// Joined expects a worker of each module that busd does not run.
	Joined
	// Known expects that each module that busd does not run has registered something, now or earlier.
	Known
)

// Expects reports whether a listed module has not yet done what is expected. Nothing is expected of a module that
// refused its configuration, nor of one whose process ended, unless it is unknown what it wants: then busd waits for
// its restart.
func (r *Roster) Expects(e Expectation) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.listed, func(m *module) bool {
		done := len(m.workers) > 0 || e == Known && m.known()
		return m.InBusd() == (e == Started) && !done && (m.state() != Failed || m.starts())
	})
}

// Entry returns the operator's entry for a module. A module that is not listed gets an empty one, and is reported as unlisted from
// then on.
func (r *Roster) Entry(name string, now time.Time) *rosterv1.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.find(name); m != nil {
		return m.entry()
	}
	if m := r.guest(name); m != nil {
		m.asked = now
	}
	return &rosterv1.Entry{}
}

func (r *Roster) find(name string) *module {
	i := slices.IndexFunc(r.listed, func(m *module) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return r.listed[i]
}

// Join records what a worker registers. The reply lists what was not accepted.
func (r *Roster) Join(name string, j *rosterv1.Join, now time.Time) *rosterv1.Joined {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.find(name)
	listed := m != nil
	if m == nil {
		if m = r.guest(name); m == nil {
			return &rosterv1.Joined{}
		}
	}
	problems := m.join(j, limitsOf(listed), now)
	if listed && m.stale {
		r.update(now)
	}
	return &rosterv1.Joined{Listed: listed, Problems: shortened(append(problems, m.problems()...))}
}

// guest returns a module that joins without being listed, to be reported, or nil when there are too many.
func (r *Roster) guest(name string) *module {
	m := r.unlisted[name]
	if m == nil && len(r.unlisted) < maxUnlisted && len(name) <= maxName {
		m = newModule(name)
		r.unlisted[name] = m
	}
	return m
}

// Leave removes a worker that takes no more work, or is known to be dead.
func (r *Roster) Leave(name, worker string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.find(name)
	if m == nil {
		m = r.unlisted[name]
	}
	if m != nil {
		r.drop(m, func(id string) bool { return id == worker }, now)
		r.update(now)
	}
}

// Crashed notes why a module's process ended that is started again; empty for a process that has started.
func (r *Roster) Crashed(name, why string, now time.Time) { r.missing(name, why, why != "", now) }

// Missing notes why a process of a module is not there, and that none is started in its place: its configuration is refused,
// or it does not join.
func (r *Roster) Missing(name, why string, now time.Time) { r.missing(name, why, false, now) }

func (r *Roster) missing(name, why string, restarts bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.find(name); m != nil {
		if restarts {
			m.restarts++
		}
		m.crashed(why, now)
		r.update(now)
	}
}

// Unwell notes why a module that has joined does not work; empty if it does. It is asked all the same.
func (r *Roster) Unwell(name, why string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.find(name)
	if m == nil {
		return
	}
	if m.unwell = why; why != "" {
		m.failure = incident{why, now}
	}
	m.track(now)
}

// Expire removes the workers that have not joined again in time.
func (r *Roster) Expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range slices.Concat(r.listed, slices.Collect(maps.Values(r.unlisted))) {
		if now.Sub(m.asked) > Lifetime {
			m.asked = time.Time{}
		}
		r.drop(m, func(id string) bool { return now.Sub(m.workers[id].seen) > Lifetime }, now)
	}
	r.update(now)
}

func (r *Roster) drop(m *module, gone func(id string) bool, now time.Time) {
	m.drop(gone, now)
	if r.unlisted[m.Name] == m && len(m.workers) == 0 && m.asked.IsZero() {
		delete(r.unlisted, m.Name)
	}
}

// Joined returns the workers of a listed module that have joined, and whether the module has refused its configuration. A
// roster that is published may lack workers: see [Roster.Snapshot].
func (r *Roster) Joined(name string) (workers []string, refused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.find(name)
	if m == nil {
		return nil, false
	}
	return slices.Collect(maps.Keys(m.workers)), m.refused != nil
}

// Snapshot returns the present roster, which is never changed. A module for which it has no room has no workers in it.
func (r *Roster) Snapshot() *rosterv1.Roster {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roster
}

// update makes a new roster if anything in it has changed.
func (r *Roster) update(now time.Time) {
	next := &rosterv1.Roster{Revision: r.roster.GetRevision(), BudgetMs: wire.Milliseconds(r.budget), Sequential: r.sequential}
	next.Modules, next.Shadows = r.parts()
	if next.Revision == 0 || !same(next, r.roster) {
		next.Revision = max(next.Revision+1, uint64(now.UnixMilli()))
		r.roster = next
	}
}

// same reports whether two rosters are the same but for their revision. Parts that have not changed are the same objects.
func same(a, b *rosterv1.Roster) bool {
	return a.GetBudgetMs() == b.GetBudgetMs() && slices.Equal(a.GetSequential(), b.GetSequential()) &&
		slices.EqualFunc(a.GetModules(), b.GetModules(), samePart) &&
		slices.EqualFunc(a.GetShadows(), b.GetShadows(), func(a, b *rosterv1.Shadow) bool {
			return a.GetBefore() == b.GetBefore() && slices.Equal(a.GetAsked(), b.GetAsked()) && samePart(a.GetModule(), b.GetModule())
		})
}

func samePart(a, b *rosterv1.Module) bool { return a == b || proto.Equal(a, b) }
