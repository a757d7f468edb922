package replay

import (
	"fmt"
	"slices"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Verdict is the decision of a recorded ask.
type Verdict struct {
	Outcome   string `json:"outcome,omitempty"`
	DecidedBy string `json:"decided_by,omitempty"`
	ByPolicy  bool   `json:"by_policy,omitempty"`

	// By are the modules that made the decision, or the module whose failure ended the ask.
	By []string `json:"by,omitempty"`

	// MS is how long the ask takes.
	MS decision.Milliseconds `json:"ms"`

	// Unknown is why the decision cannot be known. If it is set, the other fields are not.
	Unknown string `json:"unknown,omitempty"`
}

// Same reports whether two verdicts are the same decision, however long they take.
func (v *Verdict) Same(other *Verdict) bool {
	return v.Outcome == other.Outcome && v.DecidedBy == other.DecidedBy && v.ByPolicy == other.ByPolicy && slices.Equal(v.By, other.By)
}

// Recorded returns the verdict that was recorded.
func Recorded(r *decision.Record) Verdict {
	v := Verdict{Outcome: r.Outcome, DecidedBy: r.DecidedBy, ByPolicy: r.ByPolicy, MS: r.MS}
	for _, m := range r.Modules {
		switch {
		case !m.Counted || r.DecidedBy != "":
		case m.Said == decision.Answer && r.Outcome == decision.Answered, m.Policy == "fail" && r.Outcome == decision.Failed:
			v.By = append(v.By, m.Module)
		}
	}
	return v
}

// Decided reports whether a record can be decided again. It cannot if the ask ended because its caller went away, or
// because busd could not ask.
func Decided(r *decision.Record) bool {
	if r.Outcome == decision.Cancelled {
		return false
	}
	v := Recorded(r)
	return r.Outcome != decision.Failed || len(v.By) > 0
}

// Under decides a record again under a configuration.
func Under(r *decision.Record, c *config.Config) Verdict {
	d, ok := subjects.Find(r.Callback)
	if !ok {
		return Verdict{Unknown: "this version has no callback " + r.Callback}
	}
	budget := milliseconds(c.Budget)
	if r.CallerMS > 0 {
		budget = min(budget, r.CallerMS.Duration())
	}
	sequential := slices.Contains(c.Sequential, config.Everything) || slices.Contains(c.Sequential, d.FullName())
	w := &walk{record: r, callback: d, budget: budget, parallel: combine.Parallel(d.Options) && (!sequential || !d.Options.GetSpeculative())}
	for i := range c.Modules {
		m := &c.Modules[i]
		if part := r.Find(m.Name); part != nil && !m.Shadow {
			t := m.TermsOf(d)
			w.steps = append(w.steps, step{part, milliseconds(t.Timeout), policyOf(&t, r.Origin)})
		}
	}
	return w.decide()
}

// policyOf returns the failure policy for an ask of an origin.
func policyOf(t *config.Terms, origin string) callbacksv1.OnFailure {
	switch origin {
	case "federated":
		return t.OnFailureFederated
	case "policy":
		return t.OnFailurePolicy
	}
	return t.OnFailure
}

// milliseconds rounds a time as a roster does.
func milliseconds(d time.Duration) time.Duration { return wire.FromMilliseconds(wire.Milliseconds(d)) }

// WithShadow decides a record again as if a module that was in shadow had counted. Everything else stays as it was.
func WithShadow(r *decision.Record, module string) Verdict {
	d, ok := subjects.Find(r.Callback)
	if !ok {
		return Verdict{Unknown: "this version has no callback " + r.Callback}
	}
	w := &walk{record: r, callback: d, budget: r.BudgetMS.Duration(), parallel: wasParallel(r, d)}
	for i := range r.Modules {
		if m := &r.Modules[i]; !m.Shadow || m.Module == module {
			w.steps = append(w.steps, step{m, max(m.GivenMS.Duration(), m.MS.Duration()), policies[m.Policy]})
		}
	}
	return w.decide()
}

var policies = map[string]callbacksv1.OnFailure{
	"skip": callbacksv1.OnFailure_SKIP, "refuse": callbacksv1.OnFailure_REFUSE, "fail": callbacksv1.OnFailure_FAIL,
}

// wasParallel reports whether the modules were asked at the same time, as far as the record shows. It does for a single
// module, too.
func wasParallel(r *decision.Record, d *subjects.Declaration) bool {
	for _, m := range r.Modules {
		if !m.Shadow && m.AskedAtMS != nil && *m.AskedAtMS > 0 {
			return false
		}
	}
	return combine.Parallel(d.Options)
}

// Names returns the modules of a configuration that are in none of the records, in its order. What they would have
// answered is not known.
func Names(c *config.Config, seen map[string]bool) (unseen []string) {
	for _, m := range c.Modules {
		if !seen[m.Name] {
			unseen = append(unseen, m.Name)
		}
	}
	return unseen
}

func unknown(format string, args ...any) Verdict {
	return Verdict{Unknown: fmt.Sprintf(format, args...)}
}
