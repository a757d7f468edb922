package bus

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Outcome is what came of an ask, as metrics and records spell it.
type Outcome string

// Outcomes of asks.
const (
	NoOpinion Outcome = "no_opinion" // no module had one
	Answered  Outcome = "answered"   // not with a refusal
	Refused   Outcome = "refused"    // by a module, or by its policy
	Failed    Outcome = "failed"     // with an [*Error], or because the client could not ask
	Cancelled Outcome = "cancelled"  // by the caller
)

// Said is what came of asking one module.
type Said string

// What a module can have said.
const (
	SaidNothing Said = ""        // it was not asked, or the ask ended before it said anything
	SaidSilence Said = "silent"  // no opinion
	SaidAnswer  Said = "answer"  // not a refusal
	SaidRefusal Said = "refusal" // with an errcode
	SaidFailure Said = "failure" // see [Failure]
)

// Origin is where the event of a request comes from.
type Origin string

// Origins of requests.
const (
	UnknownOrigin Origin = "" // the request has no event with a sender
	Local         Origin = "local"
	Federated     Origin = "federated"
	PolicyServer  Origin = "policy" // another server asks this one about an event: see [WithOrigin]
)

// Trace is the account of one ask that went to modules: who was asked, when, and what each said. It is shared and used
// again: nothing in it may be changed, or be kept after [Options.Observe] has returned; copy what is needed.
type Trace struct {
	// Context is the caller's, for what it put there for the observer.
	Context context.Context //nolint:containedctx // A trace is one call's, and is over before the call is.

	Callback *subjects.Declaration
	Request  proto.Message
	Origin   Origin
	Start    time.Time
	Took     time.Duration

	// Budget is the time that the ask had, and ByCaller tells that it was the caller's deadline which bounded it, and not
	// the operator.
	Budget   time.Duration
	ByCaller bool

	Outcome   Outcome
	Answer    proto.Message // nil for no opinion
	DecidedBy string        // empty when no module decided, or several together
	ByPolicy  bool          // see [Decision]
	Err       error         // the ask's

	RosterRevision uint64
	Modules        []ModuleTrace // in roster order

	// AwaitShadows is nil where no module was asked in shadow. Else it may be called once, before the observer returns, and
	// has a function called later, on another goroutine, with all modules, those in shadow among them, when the latter
	// have said what they say. What that function is given is its own.
	AwaitShadows func(func([]ModuleTrace))
}

// ModuleTrace is one module's part of an ask.
type ModuleTrace struct {
	Module string

	// Worker is who said it, or who was asked last and did not say anything. It is empty where NATS chose among several.
	Worker string

	// Asked tells whether the module was asked, AskedAt when, counted from the start of the ask.
	Asked   bool
	AskedAt time.Duration
	Given   time.Duration // how long it might take; 0 where it was not sent the question
	Took    time.Duration // until what it said, or until its failure was certain

	Said    Said
	Answer  proto.Message // what it answered; nil where it did not
	Errcode string        // of a refusal

	// Failure, Text and Policy are as in [Failure]; Failure is 0 where Said is another.
	Failure rosterv1.FailureKind
	Text    string
	Policy  callbacksv1.OnFailure

	// Counted tells whether the decision rests on it: nothing counts that stands behind the module which decided.
	Counted bool

	// Shadow tells a module that never counts, by the operator's word.
	Shadow bool
}

// outcomeOf is what came of an ask.
func outcomeOf(d *Decision[proto.Message], err error) Outcome {
	switch {
	case errors.Is(err, context.Canceled):
		return Cancelled
	case err != nil:
		return Failed
	case d.Answer == nil:
		return NoOpinion
	case refusalOf(d.Answer) != nil:
		return Refused
	}
	return Answered
}

func refusalOf(answer proto.Message) *callbacksv1.Refusal {
	if a, ok := answer.(interface{ GetRefusal() *callbacksv1.Refusal }); ok {
		return a.GetRefusal()
	}
	return nil
}

// report tells metrics, log and observer what came of the ask.
func (a *asking) report(d *Decision[proto.Message], err error, shadows *shadowing) {
	took, outcome := time.Since(a.start), outcomeOf(d, err)
	a.plan.metrics.asked(outcome, took)
	for i := range a.attempts {
		if t := &a.attempts[i]; t.told {
			t.report()
		}
	}
	if observe := a.client.opts.Observe; observe != nil {
		a.trace.fill(a, d, err)
		a.trace.Took, a.trace.Outcome = took, outcome
		if shadows != nil {
			a.trace.AwaitShadows = func(then func([]ModuleTrace)) { shadows.await(a.client, a.plan, a.trace.Modules, then) }
		}
		observe(&a.trace)
		clear(a.trace.Modules)
		a.trace = Trace{Modules: a.trace.Modules[:0]}
	}
}

// report tells metrics and the log what came of asking the module.
func (t *attempt) report() {
	if t.outcome.Failure == rosterv1.FailureKind_FAILURE_KIND_UNSPECIFIED {
		t.step.metrics.answered(t.took)
		t.step.streak.answered()
		return
	}
	t.step.streak.failed(t.failure)
	t.step.metrics.failed(t.outcome.Failure, t.outcome.Policy)
	t.asking.client.log.Warn().Str("callback", t.asking.plan.callback.FullName()).Str("module", t.step.module).
		Str("policy", strings.ToLower(t.outcome.Policy.String())).Err(t.failure).Msg("module failed")
}

func (tr *Trace) fill(a *asking, d *Decision[proto.Message], err error) {
	tr.Callback, tr.Request, tr.Origin, tr.Start = a.plan.callback.Declaration, a.request, a.origin(), a.start
	tr.Answer, tr.DecidedBy, tr.ByPolicy, tr.Err, tr.RosterRevision = d.Answer, d.DecidedBy, d.ByPolicy, err, d.RosterRevision
	tr.Context, tr.Budget, tr.ByCaller = a.ctx, a.until.Sub(a.start), a.byCaller
	for i := range a.attempts {
		tr.Modules = append(tr.Modules, a.attempts[i].trace())
	}
}

func (t *attempt) trace() ModuleTrace {
	m := ModuleTrace{Module: t.step.module, Worker: t.worker, Counted: t.asking.walk.Counted(t.index)}
	if m.Worker == "" && len(t.step.workers) == 1 {
		m.Worker = t.step.workers[0].name
	}
	if m.Asked = !t.at.IsZero(); m.Asked {
		m.AskedAt, m.Took = t.at.Sub(t.asking.start), t.took
		if !t.deadline.IsZero() {
			m.Given = t.deadline.Sub(t.at)
		}
	}
	switch refusal := refusalOf(t.outcome.Answer); {
	case !t.told:
	case t.outcome.Failure != rosterv1.FailureKind_FAILURE_KIND_UNSPECIFIED:
		m.Said, m.Failure, m.Text, m.Policy = SaidFailure, t.outcome.Failure, t.failure.Text, t.outcome.Policy
	case t.outcome.Answer == nil:
		m.Said = SaidSilence
	case refusal != nil:
		m.Said, m.Answer, m.Errcode = SaidRefusal, t.outcome.Answer, refusal.GetErrcode()
	default:
		m.Said, m.Answer = SaidAnswer, t.outcome.Answer
	}
	return m
}

// text is what there is to say of the module's failure.
func (t *attempt) text() string {
	if t.failure == nil {
		return ""
	}
	return t.failure.Text
}
