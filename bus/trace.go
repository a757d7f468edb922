package bus

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/redact"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Outcome is the result of an ask, as metrics and records spell it.
type Outcome string

// Outcomes of asks.
const (
	OutcomeNoOpinion Outcome = "no_opinion" // no module had an opinion
	OutcomeAnswered  Outcome = "answered"   // not with a refusal
	OutcomeRefused   Outcome = "refused"    // by a module, or by its policy
	OutcomeFailed    Outcome = "failed"     // with an [*Error], or because the client could not ask
	OutcomeCancelled Outcome = "cancelled"  // by the caller
)

// Said is what one module answered.
type Said string

// What a module can have answered.
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
	OriginUnknown      Origin = "" // the request has no event with a sender
	OriginLocal        Origin = "local"
	OriginFederated    Origin = "federated"
	OriginPolicyServer Origin = "policy" // another server asks this one about an event: see [WithOrigin]
)

// Trace is the account of one ask that went to modules: which were asked, when, and what each answered. Its memory is shared
// and used again: do not change it, and copy what is needed after [Options.Observe] has returned.
type Trace struct {
	// Context is the caller's. It carries values from the caller to the observer.
	Context context.Context

	// TraceID is the trace of OpenTelemetry that the ask is part of; zero for none. The ask's own span, if it has one, is in Context.
	TraceID trace.TraceID

	Callback *subjects.Declaration
	Request  proto.Message
	Origin   Origin        // where the request's event comes from
	Start    time.Time     // when the ask began
	Took     time.Duration // until the decision

	// Budget is the time that the ask had. ByCaller tells that the caller's deadline set it, and not the operator.
	Budget   time.Duration
	ByCaller bool

	Outcome   Outcome
	Answer    proto.Message // nil for no opinion
	DecidedBy string        // empty when no module decided, or several together
	ByPolicy  bool          // see [Decision]
	Err       error         // the ask's

	RosterRevision uint64
	Modules        []ModuleTrace // in roster order

	// AwaitShadows is nil if no module was asked in shadow. Otherwise the observer may call it once, before it returns, with a
	// function that is called on another goroutine when the modules in shadow have answered or failed, or when the client is closed
	// before they were asked. The function gets all modules, and among them those in shadow that were asked; it may keep what it gets.
	AwaitShadows func(func([]ModuleTrace))
}

// ModuleTrace is one module's part of an ask.
type ModuleTrace struct {
	Module string

	// Worker is the worker that answered, or that was asked last and did not answer. It is empty where NATS chose among
	// several.
	Worker string

	// Asked tells whether the module was asked, and AskedAt when, counted from the start of the ask.
	Asked   bool
	AskedAt time.Duration
	Given   time.Duration // how long it had to answer; 0 if it was not sent the question
	Took    time.Duration // until it answered, or until its failure was certain

	Said    Said
	Answer  proto.Message // nil for no opinion and for a failure
	Errcode string        // of a refusal, in one line, at most 512 bytes of it

	// Failure, Text and Policy are as in [Failure]; Failure is 0 where Said is another.
	Failure rosterv1.FailureKind
	Text    string
	Policy  callbacksv1.OnFailure

	// Counted tells whether the module's answer counted for the decision: modules behind the one that decided do not
	// count.
	Counted bool

	// Shadow tells that the operator has put the module in shadow: its answer never counts.
	Shadow bool
}

// outcomeOf is the outcome of an ask.
func outcomeOf(d *Decision[proto.Message], err error) Outcome {
	switch {
	case errors.Is(err, context.Canceled):
		return OutcomeCancelled
	case err != nil:
		return OutcomeFailed
	case d.Answer == nil:
		return OutcomeNoOpinion
	case refusalOf(d.Answer) != nil:
		return OutcomeRefused
	}
	return OutcomeAnswered
}

func refusalOf(answer proto.Message) *callbacksv1.Refusal {
	if a, ok := answer.(interface{ GetRefusal() *callbacksv1.Refusal }); ok {
		return a.GetRefusal()
	}
	return nil
}

func (tr *Trace) fill(a *asking, d *Decision[proto.Message], err error) {
	tr.Callback, tr.Request, tr.Origin, tr.Start = a.plan.callback.Declaration, a.request, a.origin(), a.start
	tr.Answer, tr.DecidedBy, tr.ByPolicy, tr.Err, tr.RosterRevision = d.Answer, d.DecidedBy, d.ByPolicy, err, d.RosterRevision
	tr.TraceID = trace.SpanContextFromContext(a.ctx).TraceID()
	tr.Context, tr.Budget, tr.ByCaller = a.ctx, a.until.Sub(a.start), a.byCaller
	for i := range a.attempts {
		tr.Modules = append(tr.Modules, ModuleTrace{})
		tr.Modules[i].fill(&a.attempts[i])
	}
}

// fill writes the result of asking a module into m, which must be zero.
func (m *ModuleTrace) fill(t *attempt) {
	m.Module, m.Worker, m.Counted = t.step.module, t.worker, t.asking.walk.Counted(t.index)
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
		m.Said, m.Answer = SaidRefusal, t.outcome.Answer
		m.Errcode = wire.OneLine(redact.Text(refusal.GetErrcode(), t.asking.request))
	default:
		m.Said, m.Answer = SaidAnswer, t.outcome.Answer
	}
}
