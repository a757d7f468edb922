package bus

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// Decision is the result of one ask. The same question, answers and failures make the same decision, byte for byte.
type Decision[Reply proto.Message] struct {
	// Answer is nil when no module had an opinion. Its getters may be called all the same.
	Answer Reply

	// DecidedBy is the module that decided. It is empty when no module did, or several together.
	DecidedBy string

	// ByPolicy tells that the module DecidedBy did not refuse but failed, and that its policy for failures is to
	// refuse. The last of Failures says how it failed.
	ByPolicy bool

	// Failures lists the modules that failed on the way to the decision, in roster order. Modules after the one that decided
	// are not among them.
	Failures []Failure

	// RosterRevision is the revision of the roster that the ask used.
	RosterRevision uint64
}

// Failure is one module's failure to answer, and the policy that applied.
type Failure struct {
	Module string
	Kind   rosterv1.FailureKind
	Policy callbacksv1.OnFailure // what the operator has the failure mean

	// Text is the module's or the client's description of the failure; it may be empty. It is for the operator. Do not show it
	// to users: a module may write anything there.
	Text string
}

// Error is the error of an ask without a decision: a module failed whose policy is FAIL.
type Error struct {
	// Callback is the full name of the callback, such as spam_checker.user_may_create_room.
	Callback string

	// Module is the name of the module that failed.
	Module string

	// Kind says how it failed.
	Kind rosterv1.FailureKind

	// Text is as in [Failure]. It is not part of the error's own text.
	Text string
}

// Unwrap returns the cause: [context.DeadlineExceeded] for a module that did not answer in time, and otherwise the Text.
func (e *Error) Unwrap() error {
	switch {
	case e.Kind == rosterv1.FailureKind_TIMEOUT:
		return context.DeadlineExceeded
	case e.Text == "":
		return nil
	}
	return errors.New(e.Text)
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("bus: %s: module %s failed: %s", e.Callback, e.Module, wire.KindName(e.Kind))
}

// typed returns the decision with its answer as the callback's own type.
func typed[Reply proto.Message](d Decision[proto.Message]) Decision[Reply] {
	answer, _ := d.Answer.(Reply)
	return Decision[Reply]{answer, d.DecidedBy, d.ByPolicy, d.Failures, d.RosterRevision}
}
