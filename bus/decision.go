package bus

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// Decision is what came of one ask. The same question, answers and failures make the same decision, byte for byte.
type Decision[Reply proto.Message] struct {
	// Answer is nil when no module had an opinion. Its getters may be called all the same.
	Answer Reply

	// DecidedBy is the module that decided; empty when none did, or several together.
	DecidedBy string

	// Failures are what failed on the way to the decision, in roster order. What failed behind the module that decided
	// is not among them.
	Failures []Failure

	// RosterRevision says which roster the ask went by.
	RosterRevision uint64
}

// Failure is one module's failure to answer, and what became of it.
type Failure struct {
	Module string
	Kind   rosterv1.FailureKind
	Policy callbacksv1.OnFailure
}

// Error is an ask without a decision, because a module failed and its policy is to fail.
type Error struct {
	// Callback is the full name of what was asked.
	Callback string

	// Module is who failed.
	Module string

	// Kind is how.
	Kind rosterv1.FailureKind
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("bus: %s: module %s failed: %s", e.Callback, e.Module, wire.KindName(e.Kind))
}

// decide names what the walk numbered.
func decide(r *roster, p *plan, steps []step, w combine.Decision) (Decision[proto.Message], error) {
	d := Decision[proto.Message]{Answer: w.Answer, RosterRevision: r.revision}
	for _, f := range w.Failures {
		d.Failures = append(d.Failures, Failure{steps[f.Module].module, f.Kind, f.Policy})
	}
	if w.FailedBy != combine.Nobody {
		kind := w.Failures[len(w.Failures)-1].Kind
		return d, &Error{p.callback.FullName(), steps[w.FailedBy].module, kind}
	}
	if w.By != combine.Nobody {
		d.DecidedBy = steps[w.By].module
	}
	return d, nil
}

// typed is the decision with the answer's own type.
func typed[Reply proto.Message](d Decision[proto.Message]) Decision[Reply] {
	answer, _ := d.Answer.(Reply)
	return Decision[Reply]{answer, d.DecidedBy, d.Failures, d.RosterRevision}
}
