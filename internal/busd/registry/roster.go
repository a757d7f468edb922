package registry

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// update makes a new roster if anything in it has changed.
func (r *Registry) update(now time.Time) {
	next := &rosterv1.Roster{Revision: r.roster.GetRevision(), BudgetMs: milliseconds(r.budget), Sequential: r.sequential}
	owners := map[string]string{}
	for _, m := range r.listed {
		next.Modules = append(next.Modules, r.rosterOf(m, owners))
	}
	if next.Revision == 0 || !proto.Equal(next, r.roster) {
		next.Revision = max(next.Revision+1, uint64(now.UnixMilli()))
		r.roster = next
	}
}

// rosterOf is the module's part of the roster. Of two modules with one path, the earlier has it.
func (r *Registry) rosterOf(m *module, owners map[string]string) *rosterv1.Module {
	out := &rosterv1.Module{Name: m.Name, Json: m.last.GetJson(), Workers: slices.Sorted(maps.Keys(m.workers)), Grants: m.Grants}
	for _, name := range m.last.GetCallbacks() {
		out.Callbacks = append(out.Callbacks, interest(m, name))
	}
	m.lost = map[string]string{}
	for _, path := range m.last.GetWebResources() {
		if owner, taken := owners[path]; taken {
			m.lost[path] = owner
			continue
		}
		owners[path] = m.Name
		out.WebResources = append(out.WebResources, path)
	}
	return out
}

func interest(m *module, callback string) *rosterv1.Interest {
	d, _ := subjects.Find(callback) // Only known ones are accepted.
	t := m.TermsOf(d)
	return &rosterv1.Interest{
		Callback:           callback,
		TimeoutMs:          milliseconds(t.Timeout),
		OnFailure:          t.OnFailure,
		OnFailureFederated: t.OnFailureFederated,
		Needs:              m.last.GetNeeds()[callback],
		HedgeMs:            milliseconds(t.Hedge),
		BreakerFailures:    uint32(t.Breaker.Failures),
		BreakerOpenMs:      milliseconds(t.Breaker.Open),
	}
}

// milliseconds rounds up, so that a little time is not none, to at most what can be said: seven weeks.
func milliseconds(d time.Duration) uint32 {
	return uint32(min((d+time.Millisecond-1)/time.Millisecond, math.MaxUint32))
}

const (
	maxRegistered = 256     // callbacks, and web resources, of one worker
	maxNeeds      = 4 << 10 // bytes of what one worker needs of one callback
	maxVersion    = 64      // bytes
)

// accept returns what of a join can be accepted, and says what not.
func (r *Registry) accept(j *rosterv1.Join) (*rosterv1.Join, []string) {
	out := &rosterv1.Join{Worker: j.GetWorker(), ConfigRevision: j.GetConfigRevision(), Json: j.GetJson(), Needs: map[string]*rosterv1.Needs{}}
	out.Version = wire.OneLine(j.GetVersion()[:min(len(j.GetVersion()), maxVersion)])
	if e := j.GetConfigError(); e != nil {
		out.ConfigError = &rosterv1.ConfigError{Path: wire.OneLine(e.GetPath()), Error: wire.OneLine(e.GetError())}
	}
	var problems []string
	if max(len(j.GetCallbacks()), len(j.GetWebResources())) > maxRegistered {
		problems = append(problems, fmt.Sprintf("of callbacks, and of web resources, only the first %d count", maxRegistered))
	}
	for _, name := range limited(j.GetCallbacks()) {
		d, ok := subjects.Find(name)
		needs := j.GetNeeds()[name]
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("this busd knows no callback %q, so nobody asks it", wire.OneLine(name)))
			continue
		case proto.Size(needs) > maxNeeds:
			problems = append(problems, fmt.Sprintf("what it needs of %s takes more than %d bytes, so nobody asks it", d.FullName(), maxNeeds))
			continue
		case needs != nil:
			out.Needs[d.FullName()] = needs
		}
		out.Callbacks = append(out.Callbacks, d.FullName())
	}
	for _, path := range limited(j.GetWebResources()) {
		if err := wire.CheckResource(path); err != nil {
			problems = append(problems, err.Error())
		} else {
			out.WebResources = append(out.WebResources, path)
		}
	}
	slices.Sort(out.Callbacks)
	slices.Sort(out.WebResources)
	out.Callbacks, out.WebResources = slices.Compact(out.Callbacks), slices.Compact(out.WebResources)
	return out, append(problems, pair(out)...)
}

func limited(names []string) []string { return names[:min(len(names), maxRegistered)] }

// pair leaves out the callbacks of a category that must be registered whole, and is not.
func pair(j *rosterv1.Join) (problems []string) {
	for _, c := range subjects.Categories() {
		has := func(d *subjects.Declaration) bool { return slices.Contains(j.GetCallbacks(), d.FullName()) }
		hasNot := func(d *subjects.Declaration) bool { return !has(d) }
		if !c.AllOrNone || !slices.ContainsFunc(c.Callbacks, has) || !slices.ContainsFunc(c.Callbacks, hasNot) {
			continue
		}
		j.Callbacks = slices.DeleteFunc(j.Callbacks, func(name string) bool { return strings.HasPrefix(name, c.Name+".") })
		problems = append(problems, c.Name+": all of its callbacks must be registered or none; none counts now")
	}
	return problems
}

// problems are those of the module as a whole.
func (m *module) problems() (problems []string) {
	for _, path := range m.last.GetWebResources() {
		if owner := m.lost[path]; owner != "" {
			problems = append(problems, fmt.Sprintf("web resource %s is served by module %s, which is earlier in the roster", path, owner))
		}
	}
	for _, w := range m.workers {
		if !slices.Equal(w.join.GetCallbacks(), m.last.GetCallbacks()) {
			problems = append(problems, fmt.Sprintf("its workers do not all register the same callbacks: "+
				"are two modules named %s, or two versions running?", m.Name))
			break
		}
	}
	return problems
}

// uniteNeeds is what either of two workers needs.
func uniteNeeds(a, b *rosterv1.Needs) *rosterv1.Needs {
	if a == nil || proto.Equal(a, b) {
		return b
	}
	u := proto.CloneOf(a)
	for _, k := range b.GetKeys() {
		i := slices.IndexFunc(u.Keys, func(o *rosterv1.Key) bool { return o.GetValue() == k.GetValue() })
		if i < 0 {
			u.Keys = append(u.Keys, k)
			continue
		}
		u.Keys[i].Fields = slices.Compact(slices.Sorted(slices.Values(slices.Concat(u.Keys[i].Fields, k.GetFields()))))
	}
	if b.GetState() != nil {
		u.State = &rosterv1.StateFilter{
			All:  u.GetState().GetAll() || b.GetState().GetAll(),
			Keys: append(u.GetState().GetKeys(), b.GetState().GetKeys()...),
		}
	}
	return u
}
