package bus

import (
	"cmp"
	"time"

	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// roster is a [rosterv1.Roster], made ready for asking. It is never changed.
type roster struct {
	source   *rosterv1.Roster
	revision uint64
	budget   time.Duration
	plans    []plan // by Declaration.Index
	routes   routes
	grants   map[string][]string // by module
	err      error               // why nothing can be asked by it; nil where it can
}

const (
	defaultBudget  = 5 * time.Second
	defaultTimeout = time.Second
)

// unasked is a roster by which every ask fails.
func unasked(source *rosterv1.Roster, err error) *roster {
	return &roster{source: source, revision: source.GetRevision(), plans: make([]plan, len(subjects.All())), routes: routesOf(source), err: err}
}

func compile(c *Client, source *rosterv1.Roster) *roster {
	r := &roster{
		source:   source,
		revision: source.GetRevision(),
		budget:   milliseconds(source.GetBudgetMs(), defaultBudget),
		routes:   routesOf(source),
		grants:   map[string][]string{},
	}
	for _, d := range subjects.All() {
		r.plans = append(r.plans, plan{callback: d, server: c.server, parallel: parallel(d, source)})
	}
	soles := map[*subjects.Category]string{}
	for _, m := range source.GetModules() {
		r.grants[m.GetName()] = m.GetGrants()
		for _, interest := range m.GetCallbacks() {
			// What this version does not know, nobody can ask.
			if d, ok := subjects.Find(interest.GetCallback()); ok {
				soles[d.Category] = cmp.Or(soles[d.Category], m.GetName())
				r.plans[d.Index].add(c, m, interest, soles)
			}
		}
	}
	return r
}

func milliseconds(ms uint32, otherwise time.Duration) time.Duration {
	return cmp.Or(time.Duration(ms)*time.Millisecond, otherwise)
}
