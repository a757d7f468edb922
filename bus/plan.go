package bus

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// plan is how one callback is asked.
type plan struct {
	callback *subjects.Declaration
	server   subjects.Server
	steps    []step // in roster order
	parallel bool
	state    *rosterv1.StateFilter // what any step needs; nil for none
	metrics  *callbackMetrics      // nil without steps
}

// step is one module's part in a plan.
type step struct {
	module             string
	subject            string
	cancel             string   // where the module hears that an answer is no longer wanted
	workers            []string // subjects of its workers
	timeout            time.Duration
	json               bool
	onFailure          callbacksv1.OnFailure
	onFailureFederated callbacksv1.OnFailure
	refusal            *callbacksv1.Refusal
	needs              *rosterv1.Needs
	named              bool   // the module has not said yet which keys it wants
	unserved           string // why it cannot be asked; empty where it can
	hedge              time.Duration
	hedges             *hedges
	breaker            *breaker
	metrics            *moduleMetrics
}

// add makes a module that registered the callback a step of the plan. Where only one module is asked, it is the first
// that registered anything of the category.
func (p *plan) add(c *Client, m *rosterv1.Module, i *rosterv1.Interest, soles map[*subjects.Category]string) {
	if p.callback.Options.GetRule() == callbacksv1.Rule_SOLE && soles[p.callback.Category] != m.GetName() {
		return
	}
	if p.metrics == nil {
		p.metrics = c.metrics.callback(p.callback)
	}
	p.steps = append(p.steps, c.step(p.callback, m, i))
	p.state = wire.UniteFilters(p.state, i.GetNeeds().GetState())
}

func (c *Client) step(d *subjects.Declaration, m *rosterv1.Module, i *rosterv1.Interest) step {
	local := policy(d, i.GetOnFailure(), d.Options.GetOnFailure())
	s := step{
		module:             m.GetName(),
		subject:            c.server.Callback(d, m.GetName()),
		cancel:             c.server.Cancel(m.GetName()),
		timeout:            milliseconds(i.GetTimeoutMs(), defaultTimeout),
		json:               m.GetJson(),
		onFailure:          local,
		onFailureFederated: policy(d, i.GetOnFailureFederated(), cmp.Or(i.GetOnFailure(), d.Options.GetOnFailureFederated(), local)),
		refusal:            refusal(d, m.GetName()),
		needs:              i.GetNeeds(),
		named:              i.GetNamed(),
		unserved:           i.GetUnserved(),
		hedges:             c.hedgesOf(d, m.GetName()),
		breaker:            c.breakerOf(d, m.GetName(), i),
		metrics:            c.metrics.module(d, m.GetName()),
	}
	for _, worker := range m.GetWorkers() {
		s.workers = append(s.workers, c.server.Worker(d, m.GetName(), worker))
	}
	if d.Options.GetSpeculative() { // No side effects: asking twice does nothing twice.
		s.hedge = milliseconds(i.GetHedgeMs(), 0)
	}
	return s
}

// parallel reports whether the modules may be asked at the same time, by the declaration and the operator.
func parallel(d *subjects.Declaration, r *rosterv1.Roster) bool {
	forced := slices.ContainsFunc(r.GetSequential(), func(name string) bool { return name == "*" || name == d.FullName() })
	return combine.Parallel(d.Options) && (!forced || !d.Options.GetSpeculative())
}

// narrow returns the steps that a request is for: all, those that registered for its key, or the one that it names.
func (p *plan) narrow(req proto.Message) []step {
	switch d, m := p.callback, req.ProtoReflect(); {
	case d.ToModule != nil:
		return p.addressed(m.Get(d.ToModule).String(), m.Get(d.ToWorker).String())
	case d.Key != nil:
		key := m.Get(d.Key).String()
		return slices.DeleteFunc(slices.Clone(p.steps), func(s step) bool { return s.keyOf(key) == nil && !s.named && s.unserved == "" })
	}
	return p.steps
}

// addressed is the step of one module, to one worker if it has a name.
func (p *plan) addressed(module, worker string) []step {
	for _, s := range p.steps {
		if s.module != module {
			continue
		}
		if worker != "" {
			s.subject, s.workers = p.server.Worker(p.callback, module, worker), nil
		}
		return []step{s}
	}
	return nil
}

func (s *step) keyOf(value string) *rosterv1.Key {
	for _, k := range s.needs.GetKeys() {
		if k.GetValue() == value {
			return k
		}
	}
	return nil
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
