package combine

import (
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// Outcome is what came of asking one module.
type Outcome struct {
	// Answer is nil when the module had no opinion. With a failure, it is what a policy of REFUSE answers.
	Answer proto.Message

	// Failure is set when there is no answer of the module, and Policy then says what that means.
	Failure rosterv1.FailureKind
	Policy  callbacksv1.OnFailure
}

// Failure is a failure on the way to the decision.
type Failure struct {
	Module int
	Kind   rosterv1.FailureKind
	Policy callbacksv1.OnFailure
}

// Nobody is where one module would be named and none, or more than one, is meant.
const Nobody = -1

// Decision is what came of the whole walk.
type Decision struct {
	// Answer is nil when no module had an opinion.
	Answer proto.Message

	// By is the module that decided, or Nobody.
	By int

	// FailedBy is the module whose failure ended the walk without a decision, or Nobody.
	FailedBy int

	// Failures are those on the way to the decision, in roster order.
	Failures []Failure
}

// Walk is one question on its way through the modules. It is for one goroutine at a time. The zero Walk is not ready:
// see [Walk.Start].
type Walk struct {
	rule     callbacksv1.Rule
	parallel bool
	request  proto.Message
	outcomes []Outcome
	told     []bool
	started  int // modules that Next has returned, or that were told without it
	settled  int // modules whose outcomes count
	done     bool
	decision Decision
	united   bool // whether the decision's answer is the walk's own; else it is a module's, and only read
}

// Parallel reports whether a callback's modules may be asked at the same time: those of its rule, or its declaration,
// that need not know what the ones before them said.
func Parallel(o *callbacksv1.CallbackOptions) bool {
	switch o.GetRule() {
	case callbacksv1.Rule_NOTIFY, callbacksv1.Rule_MERGE:
		return true
	case callbacksv1.Rule_FIRST:
		return o.GetSpeculative()
	}
	return false
}

// Start begins a walk through n modules and forgets any earlier one. The request is only read.
func (w *Walk) Start(rule callbacksv1.Rule, parallel bool, n int, request proto.Message) {
	if rule == callbacksv1.Rule_SOLE {
		n = min(n, 1)
	}
	clear(w.outcomes)
	clear(w.told)
	*w = Walk{
		rule: rule, parallel: parallel, request: request,
		outcomes: resize(w.outcomes, n), told: resize(w.told, n),
		done:     n == 0,
		decision: Decision{By: Nobody, FailedBy: Nobody},
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// Next returns a module to ask now, and with what. It is called until it returns false, and again after each Tell.
func (w *Walk) Next() (module int, request proto.Message, ok bool) {
	for w.started < len(w.told) && w.told[w.started] {
		w.started++
	}
	if w.done || w.started == len(w.outcomes) || !w.parallel && w.started > w.settled {
		return Nobody, nil, false
	}
	w.started++
	return w.started - 1, w.request, true
}

// Waiting reports whether the module's outcome is still wanted. It may not have been asked yet.
func (w *Walk) Waiting(module int) bool {
	return !w.done && module < len(w.told) && !w.told[module]
}

// Counted reports whether the module's outcome is one that the decision rests on.
func (w *Walk) Counted(module int) bool { return module < w.settled }

// Done reports whether there is a decision.
func (w *Walk) Done() bool { return w.done }

// Decision returns what came of the walk, which must be done.
func (w *Walk) Decision() Decision { return w.decision }

// Tell says what came of asking a module. What is no longer wanted is ignored.
func (w *Walk) Tell(module int, o Outcome) {
	if !w.Waiting(module) {
		return
	}
	w.outcomes[module], w.told[module] = o, true
	for !w.done && w.settled < len(w.told) && w.told[w.settled] {
		w.settle(w.settled, w.outcomes[w.settled])
		w.settled++
	}
	w.done = w.done || w.settled == len(w.told)
}

// settle takes in the outcome of the next module in roster order.
func (w *Walk) settle(module int, o Outcome) {
	switch {
	case o.Failure != rosterv1.FailureKind_FAILURE_KIND_UNSPECIFIED:
		w.fail(module, o)
	case o.Answer == nil || w.rule == callbacksv1.Rule_NOTIFY:
	case w.rule == callbacksv1.Rule_MERGE:
		w.merge(module, o.Answer)
	case w.rule == callbacksv1.Rule_FOLD:
		w.fold(module, o.Answer)
	default:
		w.decide(module, o.Answer)
	}
}

func (w *Walk) decide(module int, answer proto.Message) {
	w.decision.Answer, w.decision.By, w.done = answer, module, true
}

func (w *Walk) fail(module int, o Outcome) {
	w.decision.Failures = append(w.decision.Failures, Failure{module, o.Failure, o.Policy})
	switch o.Policy {
	case callbacksv1.OnFailure_SKIP:
	case callbacksv1.OnFailure_REFUSE:
		w.decide(module, o.Answer)
	default:
		w.decision = Decision{By: Nobody, FailedBy: module, Failures: w.decision.Failures}
		w.done = true
	}
}

func (w *Walk) merge(module int, answer proto.Message) {
	facts := factsOf(answer)
	switch so := w.decision.Answer; {
	case facts.ends(answer):
		w.decide(module, answer)
	case so == nil && !facts.lists:
		w.decision.Answer, w.decision.By = answer, module
	case so == nil:
		w.unite(answer)
		w.decision.By = module
	default:
		w.unite(answer)
		w.decision.By = Nobody // It was several.
	}
}

// unite makes the decision's answer the walk's own, and adds another to it.
func (w *Walk) unite(answer proto.Message) {
	if !w.united {
		own := answer.ProtoReflect().New()
		if w.decision.Answer != nil {
			unite(own, w.decision.Answer.ProtoReflect())
		}
		w.decision.Answer, w.united = own.Interface(), true
	}
	unite(w.decision.Answer.ProtoReflect(), answer.ProtoReflect())
}

func (w *Walk) fold(module int, answer proto.Message) {
	if isRefusal(answer) {
		w.decide(module, answer)
		return
	}
	if w.decision.Answer != nil {
		module = Nobody // It was several.
	}
	w.request = replace(w.request, answer)
	w.decision.Answer, w.decision.By = answer, module
}
