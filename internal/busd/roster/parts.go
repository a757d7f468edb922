package roster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// part is a module's part of the roster. It is never changed.
type part struct {
	*rosterv1.Module

	size int
	bare *rosterv1.Module // the same without what takes room; nil until it is needed
}

// parts returns the modules' parts of the roster. Of two modules with the same path, the earlier one has it. A module
// for which there is no more room keeps its callbacks, and nothing that takes room.
//
// Only parts that may have changed are made: a thousand modules join within a moment, and each must not cost the parts of all.
func (r *Roster) parts() (all []*rosterv1.Module, shadows []*rosterv1.Shadow) {
	owners, left := map[string]string{}, r.room
	for _, m := range r.listed {
		owners := owners
		if m.Shadow {
			owners = map[string]string{} // No module has its paths.
		}
		if m.place(owners) {
			r.made++
		}
		mine, size := m.part.Module, m.part.size
		m.excess = ""
		if size > left {
			m.excess = fmt.Sprintf("the roster may take %d bytes, and this module's part of it does not fit: "+
				"it is not asked, and counts as absent", r.room)
			mine = m.part.bared()
			size = proto.Size(mine)
		}
		left -= size
		if m.Shadow {
			shadows = append(shadows, &rosterv1.Shadow{Module: mine, Before: uint32(len(all)), Asked: m.shadowed()})
		} else {
			all = append(all, mine)
		}
	}
	return all, shadows
}

// place sees to the module's part, and reports whether it was made anew. The paths that the module has become its own among owners.
func (m *module) place(owners map[string]string) (made bool) {
	paths, lost := m.paths(owners)
	if m.part != nil && !m.stale && (len(lost)+len(m.lost) == 0 || maps.Equal(lost, m.lost)) {
		return false
	}
	m.lost, m.stale = lost, false
	if next := m.describe(paths); m.part == nil || !proto.Equal(next, m.part.Module) {
		m.part = &part{Module: next, size: proto.Size(next)}
	}
	return true
}

// paths returns which of its paths the module has, and of which another one is the owner.
func (m *module) paths(owners map[string]string) (paths []string, lost map[string]string) {
	for _, path := range m.last.GetWebResources() {
		if owner, taken := webpath.Longest(owners, path); taken && owner != m.Name {
			if lost == nil {
				lost = map[string]string{}
			}
			lost[path] = owner
			continue
		}
		owners[path] = m.Name
		paths = append(paths, path)
	}
	return paths, lost
}

// shadowed returns the callbacks that a module in shadow is asked: those without side effects, and those that the
// operator named.
func (m *module) shadowed() (asked []string) {
	for _, name := range m.wanted() {
		d, _ := subjects.Find(name) // Only known ones are accepted, or can be named.
		if d.Options.GetSpeculative() || slices.Contains(m.named(), name) {
			asked = append(asked, name)
		}
	}
	return asked
}

// describe returns the module's part of the roster.
func (m *module) describe(paths []string) *rosterv1.Module {
	out := &rosterv1.Module{
		Name: m.Name, Json: m.last.GetJson(), Workers: slices.Sorted(maps.Keys(m.workers)), Grants: m.Grants, Declined: m.declined,
		Heard: m.heard, Unknown: m.unknown() && !m.skipped(), Pulls: m.last.GetPulls(),
		Batch: m.last.GetBatch(), WebResources: paths,
	}
	for _, name := range m.wanted() {
		out.Callbacks = append(out.Callbacks, m.interest(name))
	}
	return out
}

// interest returns the module's settings for one callback, complete: homeservers fill in nothing.
func (m *module) interest(callback string) *rosterv1.Interest {
	d, _ := subjects.Find(callback) // Only known ones are accepted, or can be named.
	t := m.TermsOf(d)
	return &rosterv1.Interest{
		Callback:           callback,
		TimeoutMs:          wire.Milliseconds(t.Timeout),
		OnFailure:          t.OnFailure,
		OnFailureFederated: t.OnFailureFederated,
		OnFailurePolicy:    t.OnFailurePolicy,
		Needs:              m.last.GetNeeds()[callback],
		HedgeMs:            wire.Milliseconds(t.Hedge),
		BreakerFailures:    uint32(t.Breaker.Failures),
		BreakerOpenMs:      wire.Milliseconds(cmp.Or(t.Breaker.Open, config.DefaultBreaker.Open)), // also the pause of doubted workers
		Named:              !slices.Contains(m.last.GetCallbacks(), callback),
		Unserved:           m.last.GetUnserved()[callback],
		AtLeastOnce:        t.AtLeastOnce,
	}
}

// bared returns the part without what takes room. What the module needs in requests is missing then, so it cannot be asked.
func (p *part) bared() *rosterv1.Module {
	if p.bare == nil {
		p.bare = proto.CloneOf(p.Module)
		p.bare.WebResources, p.bare.Workers = nil, nil
		for _, i := range p.bare.GetCallbacks() {
			i.Needs, i.Unserved = nil, "its part of the roster is too large"
		}
	}
	return p.bare
}
