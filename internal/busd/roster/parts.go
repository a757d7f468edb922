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

// parts returns the modules' parts of the roster. Of two modules with the same path, the earlier one has it. A module
// for which there is no more room keeps its callbacks, and nothing that takes room.
func (r *Roster) parts() (all []*rosterv1.Module, shadows []*rosterv1.Shadow) {
	owners, left := map[string]string{}, r.room
	for _, m := range r.listed {
		owners := owners
		if m.Shadow {
			owners = map[string]string{} // No module has its paths.
		}
		part := m.part(owners)
		m.excess = ""
		if size := proto.Size(part); size > left {
			m.excess = fmt.Sprintf("the roster may take %d bytes, and this module's part of it does not fit: "+
				"it is not asked, and counts as absent", r.room)
			part = bare(part)
		}
		left -= proto.Size(part)
		if m.Shadow {
			shadows = append(shadows, &rosterv1.Shadow{Module: part, Before: uint32(len(all)), Asked: m.shadowed()})
		} else {
			all = append(all, part)
		}
	}
	return all, shadows
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

// part is the module's part of the roster.
func (m *module) part(owners map[string]string) *rosterv1.Module {
	out := &rosterv1.Module{
		Name: m.Name, Json: m.last.GetJson(), Workers: slices.Sorted(maps.Keys(m.workers)), Grants: m.Grants, Declined: m.declined,
		Heard: m.heard, Unknown: m.unknown() && !m.skipped(), Pulls: m.last.GetPulls(),
		Batch: m.last.GetBatch(),
	}
	for _, name := range m.wanted() {
		out.Callbacks = append(out.Callbacks, m.interest(name))
	}
	m.lost = map[string]string{}
	for _, path := range m.last.GetWebResources() {
		if owner, taken := webpath.Longest(owners, path); taken && owner != m.Name {
			m.lost[path] = owner
			continue
		}
		owners[path] = m.Name
		out.WebResources = append(out.WebResources, path)
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

// bare returns a module's part without what takes room. What it needs in requests is missing then, so it cannot be
// asked.
func bare(part *rosterv1.Module) *rosterv1.Module {
	out := proto.CloneOf(part)
	out.WebResources, out.Workers = nil, nil
	for _, i := range out.GetCallbacks() {
		i.Needs, i.Unserved = nil, "its part of the roster is too large"
	}
	return out
}
