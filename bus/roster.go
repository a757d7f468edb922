package bus

import (
	"cmp"
	"time"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// roster is a [rosterv1.Roster], made ready for asking. It is never changed.
type roster struct {
	source   *rosterv1.Roster
	revision uint64
	budget   time.Duration
	plans    map[*subjects.Declaration]*plan // of the callbacks that a module registered
	routes   routes
	grants   map[string][]string // by module
	err      error               // why nothing can be asked by it; nil where it can
}

// unasked is a roster by which every ask fails.
func unasked(source *rosterv1.Roster, err error) *roster {
	return &roster{source: source, revision: source.GetRevision(), routes: routesOf(source), err: err}
}

func compile(c *Client, source *rosterv1.Roster) *roster {
	r := &roster{
		source:   source,
		revision: source.GetRevision(),
		budget:   milliseconds(source.GetBudgetMs(), wire.DefaultBudget),
		routes:   routesOf(source),
		plans:    map[*subjects.Declaration]*plan{},
		grants:   map[string][]string{},
	}
	c.forgetWorkers(source)
	soles := map[*subjects.Category]string{}
	for _, m := range source.GetModules() {
		r.grants[m.GetName()] = m.GetGrants()
		for _, interest := range m.GetCallbacks() {
			// What this version does not know, nobody can ask.
			if d, ok := subjects.Find(interest.GetCallback()); ok {
				soles[d.Category] = cmp.Or(soles[d.Category], m.GetName())
				r.add(c, d, m, interest, soles)
			}
		}
	}
	return r
}

// add makes a module that registered the callback a step of the callback's plan. Where only one module is asked, it is
// the first that registered anything of the category.
func (r *roster) add(c *Client, d *subjects.Declaration, m *rosterv1.Module, i *rosterv1.Interest, soles map[*subjects.Category]string) {
	if d.Options.GetRule() == callbacksv1.Rule_SOLE && soles[d.Category] != m.GetName() {
		return
	}
	if r.plans[d] == nil {
		r.plans[d] = &plan{callback: declared.Of(d), server: c.server, parallel: parallel(d, r.source), metrics: c.metrics.callback(d)}
	}
	p := r.plans[d]
	p.steps = append(p.steps, c.step(d, m, i))
	p.state = wire.UniteFilters(p.state, i.GetNeeds().GetState())
}

func milliseconds(ms uint32, otherwise time.Duration) time.Duration {
	return cmp.Or(wire.FromMilliseconds(ms), otherwise)
}
