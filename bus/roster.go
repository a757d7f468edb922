package bus

import (
	"cmp"
	"slices"
	"time"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// roster is a [rosterv1.Roster], made ready for asking. It is never changed. Time limits and policies are taken as they are:
// busd has filled in every default.
type roster struct {
	source   *rosterv1.Roster
	revision uint64
	budget   time.Duration
	plans    []*plan // by Declaration.Index; nil if it is known that no module registered the callback
	routes   routes
	unknown  int                 // how many modules there are that may want any callback
	grants   map[string][]string // by module
	err      error               // why asks with this roster fail; nil if they need not
}

// unasked returns a roster with which every ask fails.
func unasked(source *rosterv1.Roster, err error) *roster {
	plans := slices.Repeat([]*plan{{err: err}}, len(subjects.All()))
	return &roster{source: source, revision: source.GetRevision(), plans: plans, routes: routesOf(source), err: err}
}

func compile(c *Client, source *rosterv1.Roster) *roster {
	r := &roster{
		source:   source,
		revision: source.GetRevision(),
		budget:   wire.FromMilliseconds(source.GetBudgetMs()),
		routes:   routesOf(source),
		plans:    make([]*plan, len(subjects.All())),
		grants:   map[string][]string{},
	}
	for _, m := range source.GetModules() {
		if m.GetUnknown() {
			r.unknown++
		}
	}
	c.memory.retain(source)
	soles := map[*subjects.Category]string{}
	for i, m := range source.GetModules() {
		r.addShadows(c, uint32(i))
		r.grants[m.GetName()] = m.GetGrants()
		if m.GetUnknown() {
			r.note(c, m)
		}
		for _, interest := range m.GetCallbacks() {
			// This version does not know the callback, so it is never asked.
			if d, ok := subjects.Find(interest.GetCallback()); ok {
				soles[d.Category] = cmp.Or(soles[d.Category], m.GetName())
				r.add(c, d, m, interest, soles)
			}
		}
	}
	r.addShadows(c, uint32(len(source.GetModules())))
	return r
}

// add makes a module that registered the callback a step of the callback's plan. For a category of which only one
// module is asked, that is the first that registered any callback of it.
func (r *roster) add(c *Client, d *subjects.Declaration, m *rosterv1.Module, i *rosterv1.Interest, soles map[*subjects.Category]string) {
	if d.Options.GetRule() == callbacksv1.Rule_SOLE && soles[d.Category] != m.GetName() {
		return
	}
	p := r.planOf(c, d)
	p.wanted = true
	p.steps = append(p.steps, newStep(c, d, m, i))
	p.state = wire.UniteFilters(p.state, i.GetNeeds().GetState())
}

// planOf returns the callback's plan, and makes it if there is none.
func (r *roster) planOf(c *Client, d *subjects.Declaration) *plan {
	p := r.plans[d.Index()]
	if p == nil {
		p = &plan{callback: declared.Of(d), server: c.server, parallel: parallel(d, r.source), metrics: c.metrics.callback(d)}
		p.steps = make([]step, 0, r.unknown)
		r.plans[d.Index()] = p
	}
	return p
}

// addShadows adds the modules in shadow before which the given number of other modules stand.
func (r *roster) addShadows(c *Client, before uint32) {
	for _, s := range r.source.GetShadows() {
		if s.GetBefore() != before {
			continue
		}
		r.grants[s.GetModule().GetName()] = s.GetModule().GetGrants()
		for _, i := range rosterwire.Asked(s) {
			if d, ok := subjects.Find(i.GetCallback()); ok && !d.FollowUp() {
				p := r.planOf(c, d)
				p.wanted = true
				p.shadows = append(p.shadows, shadow{newStep(c, d, s.GetModule(), i), len(p.steps)})
				p.state = wire.UniteFilters(p.state, i.GetNeeds().GetState())
			}
		}
	}
}

// note makes a module whose callbacks are not known yet a failure of each decision. Callbacks that only one module
// is asked are left out: another module may be the one.
func (r *roster) note(c *Client, m *rosterv1.Module) {
	for _, d := range subjects.All() {
		if d.Options.GetRule() == callbacksv1.Rule_SOLE {
			continue
		}
		p := r.planOf(c, d)
		p.steps = append(p.steps, newStep(c, d, m, &rosterv1.Interest{
			OnFailure: callbacksv1.OnFailure_SKIP, OnFailureFederated: callbacksv1.OnFailure_SKIP,
			Unserved: "it has never joined, so nobody knows what it wants",
		}))
	}
}
