package records_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func drawnEnum[T ~int32](t *rapid.T, label string, names map[int32]string) T {
	return T(rapid.Int32Range(0, int32(len(names)-1)).Draw(t, label))
}

var (
	drawnText  = rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z_.]+`), rapid.String())
	drawnTime  = rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64Range(-1<<20, 1<<50).Draw(t, "ns")) })
	drawnReply = rapid.SampledFrom([]proto.Message{nil, &callbacksv1.UserMayCreateRoomResponse{}, &callbacksv1.GetUsernameForRegistrationResponse{Username: new("a")}})
	drawnPart  = rapid.Custom(func(t *rapid.T) bus.ModuleTrace {
		text := func(label string) string { return drawnText.Draw(t, label) }
		return bus.ModuleTrace{
			Module: text("module"), Worker: text("worker"), Asked: rapid.Bool().Draw(t, "asked"), AskedAt: drawnTime.Draw(t, "at"),
			Given: drawnTime.Draw(t, "given"), Took: drawnTime.Draw(t, "took"), Said: bus.Said(text("said")), Answer: drawnReply.Draw(t, "answer"),
			Errcode: text("errcode"), Failure: drawnEnum[rosterv1.FailureKind](t, "failure", rosterv1.FailureKind_name), Text: text("text"),
			Policy: drawnEnum[callbacksv1.OnFailure](t, "policy", callbacksv1.OnFailure_name), Counted: rapid.Bool().Draw(t, "counted"),
			Shadow: rapid.Bool().Draw(t, "shadow"),
		}
	})
	drawnTrace = rapid.Custom(func(t *rapid.T) *bus.Trace {
		text := func(label string) string { return drawnText.Draw(t, label) }
		tr := &bus.Trace{
			Callback: rapid.SampledFrom(subjects.All()).Draw(t, "callback"), Origin: bus.Origin(text("origin")),
			Start: time.UnixMicro(rapid.Int64Range(0, 1<<51).Draw(t, "start")), Took: drawnTime.Draw(t, "took"), Budget: drawnTime.Draw(t, "budget"),
			ByCaller: rapid.Bool().Draw(t, "by caller"), Outcome: bus.Outcome(text("outcome")), DecidedBy: text("by"), ByPolicy: rapid.Bool().Draw(t, "by policy"),
			RosterRevision: rapid.Uint64().Draw(t, "revision"), Modules: rapid.SliceOfN(drawnPart, 0, 3).Draw(t, "modules"),
			Request: &callbacksv1.UserMayCreateRoomRequest{UserId: "<@a:b>"},
		}
		if rapid.Bool().Draw(t, "traced") {
			tr.TraceID = trace.TraceID{1, 2, 255}
		}
		return tr
	})
)

// What is written by hand is what the tags of [decision.Record] say.
func TestRecordIsWrittenAsItsTypeSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		r := records.New()
		r.KeepRequests(rapid.Bool().Draw(rt, "requests"))
		tr := drawnTrace.Draw(rt, "trace")
		tr.Context = t.Context()
		r.Observe(tr)
		all, err := r.Last(t.Context(), decision.Filter{}, 1)
		if err != nil {
			rt.Fatal(err)
		}
		want, err := json.Marshal(all[0])
		if err != nil {
			rt.Fatal(err)
		}
		if got, err := r.Encoded(); err != nil || !bytes.Equal(got, want) {
			rt.Errorf("%v\n got %s\nwant %s", err, got, want)
		}
	})
}
