package bus

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// plan is how one callback is asked.
type plan struct {
	callback *declared.View
	server   subjects.Server
	steps    []step // in roster order
	shadows  []shadow
	parallel bool
	wanted   bool                  // a module registered the callback; otherwise steps are modules that have not said what they register
	state    *rosterv1.StateFilter // what any step needs; nil for none
	metrics  *callbackMetrics
	err      error // why it cannot be asked; nil if it can
}

// step is one module's part in a plan.
type step struct {
	module             string
	subject            string
	cancel             string // the subject on which the module hears that an answer is no longer wanted
	workers            []worker
	timeout            time.Duration
	json               bool
	stored             bool // the news is stored in JetStream, and busd delivers it
	pulls              bool // its workers read what is larger than a message in pieces
	onFailure          callbacksv1.OnFailure
	onFailureFederated callbacksv1.OnFailure
	onFailurePolicy    callbacksv1.OnFailure
	needs              *rosterv1.Needs
	named              bool   // the module has not said yet which keys it wants
	unserved           string // why it cannot be asked; empty if it can
	speculative        bool   // the callback is free of side effects, so it may be asked twice
	hedge              time.Duration
	pause              time.Duration // how long a doubted worker, or the module, is not asked
	hedges             *hedges
	breaker            *breaker
	streak             *streak
	metrics            moduleMetrics
}

func newStep(c *Client, d *subjects.Declaration, m *rosterv1.Module, i *rosterv1.Interest) step {
	known := c.memory.of(d, m.GetName(), termsOf(i))
	s := step{
		module:             m.GetName(),
		timeout:            wire.FromMilliseconds(i.GetTimeoutMs()),
		json:               m.GetJson(),
		pulls:              m.GetPulls(),
		onFailure:          policy(d, i.GetOnFailure()),
		onFailureFederated: policy(d, i.GetOnFailureFederated()),
		onFailurePolicy:    policy(d, cmp.Or(i.GetOnFailurePolicy(), i.GetOnFailureFederated())),
		needs:              i.GetNeeds(),
		unserved:           i.GetUnserved(),
		named:              i.GetNamed(),
		speculative:        d.Options.GetSpeculative(),
		pause:              known.breaker.terms.open,
		hedges:             &known.hedges,
		breaker:            known.breaker,
		streak:             &known.streak,
		metrics:            c.metrics.module(d, m.GetName()),
	}
	if s.unserved == "" {
		s.metrics.made() // Scrapes see a zero from the beginning.
	}
	if s.unserved == "" || i.GetAtLeastOnce() { // There may be thousands of others, and they are not asked.
		s.subject, s.cancel = c.server.Callback(d, m.GetName()), c.server.Cancel(m.GetName())
	}
	if i.GetAtLeastOnce() {
		s.store(c.server.News(d, m.GetName()))
		return s
	}
	for _, name := range m.GetWorkers() {
		s.workers = append(s.workers, newWorker(c, d, m, name))
	}
	if s.speculative {
		s.hedge = wire.FromMilliseconds(i.GetHedgeMs())
	}
	return s
}

// store makes JetStream the one that is asked, wherever the module is, and whatever it can be asked. JetStream gets all of it
// in one message: pieces could be read only until the ask is over.
func (s *step) store(subject string) {
	s.stored, s.subject, s.json, s.pulls, s.unserved = true, subject, false, false, ""
}

// parallel reports whether the declaration and the operator let modules be asked at the same time.
func parallel(d *subjects.Declaration, r *rosterv1.Roster) bool {
	forced := slices.ContainsFunc(r.GetSequential(), func(name string) bool { return name == "*" || name == d.FullName() })
	return combine.Parallel(d.Options) && (!forced || !d.Options.GetSpeculative())
}

// narrow returns the steps that a request is for: all, the modules that registered for its key, or the module that
// it names.
func (p *plan) narrow(req proto.Message) []step {
	switch d, m := p.callback, req.ProtoReflect(); {
	case d.ToModule != nil:
		return p.addressed(m.Get(d.ToModule).String(), m.Get(d.ToWorker).String())
	case d.Key != nil:
		key := m.Get(d.Key).String()
		return slices.DeleteFunc(slices.Clone(p.steps), func(s step) bool { return declared.KeyOf(s.needs, key) == nil && !s.named && s.unserved == "" })
	}
	return p.steps
}

// addressed returns the step of one module, narrowed to one worker if a worker is named.
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

// shadowsOf returns the modules in shadow that a request is for. A request that names a module is for none of them.
func (p *plan) shadowsOf(req proto.Message) []shadow {
	d := p.callback
	if d.ToModule != nil || len(p.shadows) == 0 {
		return nil
	}
	if d.Key == nil {
		return p.shadows
	}
	key := req.ProtoReflect().Get(d.Key).String()
	return slices.DeleteFunc(slices.Clone(p.shadows), func(s shadow) bool { return declared.KeyOf(s.needs, key) == nil && !s.named && s.unserved == "" })
}

// stands reports whether a module is one of the first so many of the plan.
func (p *plan) stands(module string, before int) bool {
	return slices.ContainsFunc(p.steps[:before], func(s step) bool { return s.module == module })
}

// policy returns the roster's policy. It is FAIL if the roster has none, or if it says REFUSE and this version of
// the callback has no refusal.
func policy(d *subjects.Declaration, p callbacksv1.OnFailure) callbacksv1.OnFailure {
	if p == callbacksv1.OnFailure_REFUSE && !d.CanRefuse() {
		return callbacksv1.OnFailure_FAIL
	}
	return cmp.Or(p, callbacksv1.OnFailure_FAIL)
}

// refusal is the answer of the policy REFUSE. The caller may change it.
func refusal(d *subjects.Declaration, module string) *callbacksv1.Refusal {
	if r := d.Options.GetRefusal(); r != nil {
		return proto.CloneOf(r)
	}
	return &callbacksv1.Refusal{Errcode: forbidden, Error: fmt.Sprintf("Module %s could not be asked", module)}
}
