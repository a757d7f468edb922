package bus

import (
	"cmp"
	"fmt"
	"time"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
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
}

// plan is how one callback is asked.
type plan struct {
	callback *subjects.Declaration
	steps    []step // in roster order
	parallel bool
	metrics  *callbackMetrics
}

// step is one module's part in a plan.
type step struct {
	module             string
	subject            string
	timeout            time.Duration
	json               bool
	onFailure          callbacksv1.OnFailure
	onFailureFederated callbacksv1.OnFailure
	refusal            *callbacksv1.Refusal
	metrics            *moduleMetrics
}

const (
	defaultBudget  = 5 * time.Second
	defaultTimeout = time.Second
)

func compile(c *Client, source *rosterv1.Roster) *roster {
	r := &roster{
		source:   source,
		revision: source.GetRevision(),
		budget:   milliseconds(source.GetBudgetMs(), defaultBudget),
		routes:   routesOf(source),
	}
	for _, d := range subjects.All() {
		r.plans = append(r.plans, plan{callback: d, parallel: combine.Parallel(d.Options), metrics: c.metrics.callback(d)})
	}
	for _, m := range source.GetModules() {
		for _, interest := range m.GetCallbacks() {
			// What this version does not know, nobody can ask.
			if d, ok := subjects.Find(interest.GetCallback()); ok {
				r.plans[d.Index].steps = append(r.plans[d.Index].steps, c.step(d, m, interest))
			}
		}
	}
	return r
}

func (c *Client) step(d *subjects.Declaration, m *rosterv1.Module, i *rosterv1.Interest) step {
	local := policy(d, i.GetOnFailure(), d.Options.GetOnFailure())
	return step{
		module:             m.GetName(),
		subject:            c.server.Callback(d, m.GetName()),
		timeout:            milliseconds(i.GetTimeoutMs(), defaultTimeout),
		json:               m.GetJson(),
		onFailure:          local,
		onFailureFederated: policy(d, i.GetOnFailureFederated(), local),
		refusal:            refusal(d, m.GetName()),
		metrics:            c.metrics.module(d, m.GetName()),
	}
}

// policy never refuses where that cannot be said.
func policy(d *subjects.Declaration, p, otherwise callbacksv1.OnFailure) callbacksv1.OnFailure {
	p = cmp.Or(p, otherwise)
	if p == callbacksv1.OnFailure_REFUSE && !d.CanRefuse() {
		return callbacksv1.OnFailure_FAIL
	}
	return p
}

// refusal is what the policy to refuse answers.
func refusal(d *subjects.Declaration, module string) *callbacksv1.Refusal {
	if r := d.Options.GetRefusal(); r != nil {
		return r
	}
	return &callbacksv1.Refusal{Errcode: forbidden, Error: fmt.Sprintf("Module %s could not be asked", module)}
}

func milliseconds(ms uint32, otherwise time.Duration) time.Duration {
	return cmp.Or(time.Duration(ms)*time.Millisecond, otherwise)
}
