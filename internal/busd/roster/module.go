package roster

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// module is what is known of one module.
type module struct {
	config.Module
	workers  map[string]*worker
	asked    time.Time      // when it last wanted its entry, while it is not listed
	heard    bool           // it has joined, here or at another busd, now or earlier
	last     *rosterv1.Join // what its workers registered together; without workers, what the last ones registered
	declined []string       // callbacks that the operator named and that it did not register when it last joined
	refused  *rosterv1.ConfigError
	crash    string            // why its last process ended
	unwell   string            // why it does not work although a worker has joined
	restarts int               // processes that ended and were started again, since busd started
	part     *part             // of the roster; nil until it is made
	stale    bool              // something that the part says may have changed
	lost     map[string]string // its paths that an earlier module has, or that lie below one, and that module's name
	excess   string            // why a part of it is missing in the roster
	failure  incident          // the last thing that went wrong
	current  State
	since    time.Time // when its state last changed
}

// worker is one that has joined.
type worker struct {
	registered  *rosterv1.Join // the accepted part of its join; workers that register the same share it
	version     string
	reduced     bool              // it registers too much to remember
	unserved    map[string]string // the parts that NATS does not let it serve, and why
	since, seen time.Time
}

// incident is something that went wrong.
type incident struct {
	text string
	at   time.Time
}

func newModule(name string) *module {
	return &module{Module: config.Module{Name: name}, workers: map[string]*worker{}, last: &rosterv1.Join{}}
}

// configure applies the operator's entry, and reports whether it has changed. A module that has joined has already
// declined, or registered, the callbacks that the entry names.
func (m *module) configure(c config.Module, now time.Time) (changed bool) {
	before := m.entry()
	m.Module, m.stale = c, true
	after := m.entry()
	if after.GetConfigRevision() != before.GetConfigRevision() {
		m.refused, m.crash = nil, ""
	}
	if m.Antispam.BaseURL == "" {
		m.unwell = ""
	}
	if len(m.workers) > 0 {
		m.settle()
	}
	m.track(now)
	return !proto.Equal(before, after)
}

func (m *module) entry() *rosterv1.Entry {
	e := &rosterv1.Entry{
		Listed:         true,
		ConfigRevision: revisionOf(m.Config),
		Config:         m.Config,
		TimeoutsMs:     map[string]uint32{},
		TimeoutMs:      wire.Milliseconds(m.Timeout),
		JoinEveryMs:    wire.Milliseconds(JoinEvery),
	}
	for name, o := range m.Callbacks {
		e.TimeoutsMs[name] = wire.Milliseconds(cmp.Or(o.Timeout, m.Timeout))
	}
	return e
}

// revisionOf returns the revision of a config, which is the same on every busd.
func revisionOf(config []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(config) // It never fails.
	return h.Sum64()
}

// join records what a worker registers, within the limits, and returns what is not accepted. A worker that refused its
// configuration before it registered anything does not count: what its module registered earlier stays.
func (m *module) join(j *rosterv1.Join, l limits, now time.Time) (problems []string) {
	defer m.track(now)
	if m.refuse(j.GetConfigError(), now); m.refused != nil && saysNothing(j) {
		m.drop(func(id string) bool { return id == j.GetWorker() }, now)
		return nil
	}
	if id := j.GetWorker(); id == "" || len(id) > maxName || id != wire.OneLine(id) { // Terminals show names.
		return []string{fmt.Sprintf("a worker needs a name of 1 to %d bytes without control characters, so this one does not count", maxName)}
	}
	m.makeRoom(j.GetWorker(), l.workers)
	old := m.workers[j.GetWorker()]
	w, problems := m.register(j, l, old)
	if w.since, w.seen = now, now; old != nil {
		w.since = old.since
	}
	m.workers[j.GetWorker()], m.crash, m.heard = w, "", true
	if old == nil || !w.same(old) {
		m.settle()
	}
	return problems
}

// refuse records why a worker refuses its configuration; nil if it does not.
func (m *module) refuse(e *rosterv1.ConfigError, now time.Time) {
	m.refused = nil
	if e != nil {
		m.refused = &rosterv1.ConfigError{Path: wire.OneLine(e.GetPath()), Error: wire.OneLine(e.GetError())}
		m.failure = incident{m.lastError(), now}
	}
}

// register returns a worker with the accepted part of its join, and the problems with the rest. old is the worker as it
// was before, or nil.
func (m *module) register(j *rosterv1.Join, l limits, old *worker) (*worker, []string) {
	registered, problems := accept(j, l)
	w := &worker{version: version(j), unserved: unserved(j)}
	delete(m.workers, j.GetWorker()) // What it registered before no longer takes room.
	if w.registered = m.share(registered, old); w.registered == nil {
		w.registered, w.reduced = reduced(registered), true
		problems = append(problems, fmt.Sprintf("the workers of module %s register too many different things to remember: "+
			"of what this one registers, only callbacks count, and those that need something are not asked", m.Name))
	}
	return w, problems
}

// same reports whether the worker registers the same as before.
func (w *worker) same(old *worker) bool {
	return w.registered == old.registered && w.version == old.version && maps.Equal(w.unserved, old.unserved)
}

// makeRoom forgets the worker that has been silent for longest, when there are too many.
func (m *module) makeRoom(id string, most int) {
	if m.workers[id] != nil || len(m.workers) < most {
		return
	}
	delete(m.workers, slices.MinFunc(slices.Sorted(maps.Keys(m.workers)), func(a, b string) int {
		return m.workers[a].seen.Compare(m.workers[b].seen)
	}))
}

// share returns the registration of this worker or of another that is equal to the join. If there is none, it returns
// the join itself, or nil if that would be too much to remember.
func (m *module) share(j *rosterv1.Join, before *worker) *rosterv1.Join {
	if before != nil && proto.Equal(before.registered, j) {
		return before.registered
	}
	size, counted := proto.Size(j), map[*rosterv1.Join]bool{}
	for _, w := range m.workers {
		if proto.Equal(w.registered, j) {
			return w.registered
		}
		if !counted[w.registered] {
			counted[w.registered] = true
			size += proto.Size(w.registered)
		}
	}
	if size > maxModule {
		return nil
	}
	return j
}

// settle makes the union of what the workers register what the module registered.
func (m *module) settle() {
	m.stale = true
	var all []*rosterv1.Join
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		if j := m.workers[id].registered; !slices.Contains(all, j) {
			all = append(all, j)
		}
	}
	if len(all) > 0 {
		m.last = unite(all)
		m.last.Version = m.latest().version
		m.declined = slices.DeleteFunc(m.named(), func(name string) bool { return slices.Contains(m.last.GetCallbacks(), name) })
	}
}

// latest returns the worker that joined last.
func (m *module) latest() (latest *worker) {
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		if w := m.workers[id]; latest == nil || w.since.After(latest.since) {
			latest = w
		}
	}
	return latest
}

// named returns the callbacks that the operator named, sorted. To name one of several that must be registered together
// is to name all of them.
func (m *module) named() (names []string) {
	for name := range m.Callbacks {
		names = append(names, name)
		if d, ok := subjects.Find(name); ok && d.Category.AllOrNone {
			for _, other := range d.Category.Callbacks {
				names = append(names, other.FullName())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// wanted returns the callbacks that the module is asked, sorted: those that it registered, and those that the operator
// named, unless the module has declined them.
func (m *module) wanted() []string {
	named := slices.DeleteFunc(m.named(), func(name string) bool { return slices.Contains(m.declined, name) })
	all := slices.Sorted(slices.Values(slices.Concat(m.last.GetCallbacks(), named)))
	return slices.Compact(all)
}

// recall sets what it registered earlier, from its part of a roster.
func (m *module) recall(e *rosterv1.Module) {
	m.stale = true
	m.heard = m.heard || e.GetHeard() || registered(e)
	j := &rosterv1.Join{
		WebResources: e.GetWebResources(), Json: e.GetJson(), Pulls: e.GetPulls(), Batch: e.GetBatch(), Needs: map[string]*rosterv1.Needs{},
	}
	refused := map[string]string{}
	for _, i := range e.GetCallbacks() {
		if i.GetNamed() {
			continue // It may no longer be named.
		}
		j.Callbacks = append(j.Callbacks, i.GetCallback())
		j.Needs[i.GetCallback()] = i.GetNeeds()
		if i.GetUnserved() != "" {
			refused[i.GetCallback()] = i.GetUnserved()
		}
	}
	last, _ := accept(j, limitsOf(true))
	maps.Copy(last.Unserved, refused)
	if !saysNothing(last) || len(e.GetDeclined()) > 0 {
		m.last, m.declined = last, e.GetDeclined()
	}
}

// known reports whether it has registered anything, now or earlier.
func (m *module) known() bool {
	return m.heard || !saysNothing(m.last) || len(m.declined) > 0
}

// unknown reports whether it is unknown what the module wants: neither the module nor the operator has said.
func (m *module) unknown() bool { return !m.known() && len(m.Callbacks) == 0 }

// skipped reports whether the operator wrote that all of the module's failures are skipped. Decisions then need not
// report them.
func (m *module) skipped() bool {
	return m.OnFailure != nil && m.OnFailure.Local == config.Skip && m.OnFailure.Federated == config.Skip
}

// endsOften is how often each process of a module may end at its first start before busd answers without it. Beyond:
// the module is asked only the callbacks that are named, and each answer reports its failure.
const endsOften = 5

// starts reports whether it may still join for the first time although a process of it has ended.
func (m *module) starts() bool {
	return m.unknown() && m.refused == nil && m.restarts < endsOften*max(m.Workers, 1)
}

func saysNothing(j *rosterv1.Join) bool {
	return len(j.GetCallbacks())+len(j.GetWebResources()) == 0
}

// drop removes workers.
func (m *module) drop(gone func(id string) bool, now time.Time) {
	before := len(m.workers)
	maps.DeleteFunc(m.workers, func(id string, _ *worker) bool { return gone(id) })
	if len(m.workers) != before {
		m.settle()
	}
	m.track(now)
}

// crashed notes why a process of it is missing; empty if another has started.
func (m *module) crashed(why string, now time.Time) {
	m.crash = why
	if why != "" {
		m.failure = incident{why, now}
	}
	m.track(now)
}
