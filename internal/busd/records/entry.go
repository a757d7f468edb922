package records

import (
	"encoding/json"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/redact"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// entry is a record as the ring has it: what a trace says, without what belongs to the ask.
type entry struct {
	number  uint64 // from 1; see [ids]
	trace   bus.Trace
	final   int // index of the module whose answer ended the walk, or -1
	content *content
}

// content is what was asked and decided, as JSON.
type content struct{ request, answer []byte }

// take copies what of the trace is kept. The memory of modules is the entry's own.
func (e *entry) take(number uint64, t *bus.Trace, c *content) {
	modules := e.trace.Modules[:0]
	modules = append(modules, t.Modules...)
	*e = entry{number: number, trace: *t, final: -1, content: c}
	for i := range modules {
		if a := modules[i].Answer; a != nil && combine.Ends(a) {
			e.final = i
		}
		modules[i].Answer = nil
	}
	e.trace.Modules = modules
	e.trace.Context, e.trace.Request, e.trace.Answer, e.trace.Err, e.trace.AwaitShadows = nil, nil, nil, nil, nil //nolint:fatcontext // It is let go of.
}

// clone is a copy that shares nothing with the ring.
func (e *entry) clone() entry {
	c := *e
	c.trace.Modules = append([]bus.ModuleTrace(nil), e.trace.Modules...)
	return c
}

// record is the entry for people and programs.
func (e *entry) record(i ids) decision.Record {
	t := &e.trace
	r := decision.Record{
		ID: i.of(t.Start, e.number), Time: decision.Time{Time: t.Start}, Callback: t.Callback.FullName(), Origin: string(t.Origin),
		Outcome: string(t.Outcome), DecidedBy: t.DecidedBy, ByPolicy: t.ByPolicy, MS: decision.In(t.Took),
		BudgetMS: decision.In(t.Budget), RosterRevision: t.RosterRevision, Modules: []decision.Module{},
	}
	if t.TraceID.IsValid() {
		r.TraceID = t.TraceID.String()
	}
	if t.ByCaller {
		r.CallerMS = r.BudgetMS
	}
	for n := range t.Modules {
		m := moduleOf(&t.Modules[n])
		m.Final = n == e.final
		r.Modules = append(r.Modules, m)
	}
	if e.content != nil {
		r.Request, r.Answer = e.content.request, e.content.answer
	}
	return r
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

// maxContent is how many bytes of a request, and of an answer, a record has, where the operator wants them.
// Beyond: the record is kept without.
const maxContent = 64 << 10

// contentOf is what of the request and the answer may be kept: nothing that is declared to be secret.
func contentOf(t *bus.Trace) *content {
	return &content{shown(t.Request), without(shown(t.Answer), t.Request)}
}

// without is JSON without the secrets of the request, which a module may have put into its answer; nothing where that is no
// JSON any more.
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
