package records

import (
	"encoding/json"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/redact"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// entry is a record in the ring: a trace's data without the ask's memory. It is small, because writing it is most of
// what a record costs an ask.
type entry struct {
	number    uint64 // from 1; see [ids]
	callback  *subjects.Declaration
	start     time.Time
	took      time.Duration
	budget    time.Duration
	revision  uint64
	traceID   trace.TraceID
	origin    bus.Origin
	outcome   bus.Outcome
	decidedBy string
	byPolicy  bool
	byCaller  bool
	final     int // index of the module whose answer ended the walk, or -1
	modules   []bus.ModuleTrace
	content   *content
}

// content is what was asked and decided, as JSON.
type content struct{ request, answer []byte }

// take copies what is kept of the trace. The entry has its own memory for modules.
func (e *entry) take(number uint64, t *bus.Trace, c *content) {
	e.number, e.content = number, c
	e.callback, e.start, e.took, e.budget, e.byCaller = t.Callback, t.Start, t.Took, t.Budget, t.ByCaller
	e.revision, e.traceID, e.origin = t.RosterRevision, t.TraceID, t.Origin
	e.outcome, e.decidedBy, e.byPolicy = t.Outcome, t.DecidedBy, t.ByPolicy
	e.keep(t.Modules)
}

// keep copies what modules said, without their answers.
func (e *entry) keep(modules []bus.ModuleTrace) {
	e.final = -1
	e.modules = append(e.modules[:0], modules...)
	for i := range e.modules {
		if m := &e.modules[i]; m.Answer != nil {
			if combine.Ends(m.Answer) {
				e.final = i
			}
			m.Answer = nil
		}
	}
}

// copy copies another entry into this one's own memory.
func (e *entry) copy(from *entry) {
	own := e.modules[:0]
	*e = *from
	own = append(own, from.modules...)
	e.modules = own
}

// clone returns a copy that shares no memory with the ring.
func (e *entry) clone() (c entry) {
	c.copy(e)
	return c
}

// record returns the entry as a [decision.Record].
func (e *entry) record(i ids) decision.Record {
	r := decision.Record{
		ID: i.of(e.start, e.number), Time: decision.Time{Time: e.start}, Callback: e.callback.FullName(), Origin: string(e.origin),
		Outcome: string(e.outcome), DecidedBy: e.decidedBy, ByPolicy: e.byPolicy, MS: decision.In(e.took),
		BudgetMS: decision.In(e.budget), RosterRevision: e.revision, Modules: make([]decision.Module, 0, len(e.modules)),
	}
	if e.traceID.IsValid() {
		r.TraceID = e.traceID.String()
	}
	if e.byCaller {
		r.CallerMS = r.BudgetMS
	}
	for n := range e.modules {
		m := moduleOf(&e.modules[n])
		m.Final = n == e.final
		r.Modules = append(r.Modules, m)
	}
	if e.content != nil {
		r.Request, r.Answer = e.content.request, e.content.answer
	}
	return r
}

// silent reports whether no module said anything, those in shadow among them.
func (e *entry) silent() bool {
	for i := range e.modules {
		if e.modules[i].Said != bus.SaidSilence {
			return false
		}
	}
	return e.outcome == bus.OutcomeNoOpinion
}

func moduleOf(t *bus.ModuleTrace) decision.Module {
	m := decision.Module{
		Module: t.Module, Worker: t.Worker, GivenMS: decision.In(t.Given), MS: decision.In(t.Took), Said: string(t.Said),
		Errcode: t.Errcode, Counted: t.Counted, Shadow: t.Shadow,
	}
	if t.Asked {
		at := decision.In(t.AskedAt)
		m.AskedAtMS = &at
	}
	if t.Failure != rosterv1.FailureKind_FAILURE_KIND_UNSPECIFIED {
		m.Failure, m.Text, m.Policy = wire.KindName(t.Failure), wire.OneLine(t.Text), strings.ToLower(t.Policy.String())
	}
	return m
}

// maxContent is how many bytes the request, and the answer, in a record may have. Beyond: the record is kept without.
const maxContent = 64 << 10

// contentOf returns the request and the answer without the fields that are declared secret.
func contentOf(t *bus.Trace) *content {
	return &content{shown(t.Request), without(shown(t.Answer), t.Request)}
}

// without removes the secrets of the request from JSON, because a module may have put them into its answer. It returns
// nil if the result is no JSON.
func without(raw []byte, request proto.Message) []byte {
	if text := redact.Text(string(raw), request); json.Valid([]byte(text)) {
		return []byte(text)
	}
	return nil
}

func shown(m proto.Message) []byte {
	if m == nil || proto.Size(m) > maxContent {
		return nil
	}
	raw, err := wire.ToJSON(redact.Message(m))
	if err != nil || len(raw) > maxContent {
		return nil
	}
	return raw
}
