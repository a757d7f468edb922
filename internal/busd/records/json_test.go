package records_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/records"
)

var (
	drawnText = rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z_.]+`), rapid.String())
	drawnTime = rapid.Custom(func(t *rapid.T) decision.Milliseconds {
		return decision.In(time.Duration(rapid.Int64Range(0, 1<<50).Draw(t, "ns")))
	})
	drawnModule = rapid.Custom(func(t *rapid.T) decision.Module {
		text := func(label string) string { return drawnText.Draw(t, label) }
		m := decision.Module{
			Module: text("module"), Worker: text("worker"), GivenMS: drawnTime.Draw(t, "given"), MS: drawnTime.Draw(t, "took"), Said: text("said"),
			Final: rapid.Bool().Draw(t, "final"), Errcode: text("errcode"), Failure: text("failure"), Text: text("text"), Policy: text("policy"),
			Counted: rapid.Bool().Draw(t, "counted"), Shadow: rapid.Bool().Draw(t, "shadow"),
		}
		if rapid.Bool().Draw(t, "asked") {
			m.AskedAtMS = new(drawnTime.Draw(t, "at"))
		}
		return m
	})
	drawnContent = rapid.SampledFrom([]json.RawMessage{nil, []byte(`{"user_id": "<@a:b>"}`)})
	drawnRecord  = rapid.Custom(func(t *rapid.T) decision.Record {
		text := func(label string) string { return drawnText.Draw(t, label) }
		return decision.Record{
			ID: text("id"), Time: decision.Time{Time: time.UnixMicro(rapid.Int64Range(0, 1<<51).Draw(t, "time"))}, Callback: text("callback"),
			Origin: text("origin"), Outcome: text("outcome"), DecidedBy: text("by"), ByPolicy: rapid.Bool().Draw(t, "policy"),
			MS: drawnTime.Draw(t, "ms"), BudgetMS: drawnTime.Draw(t, "budget"), CallerMS: drawnTime.Draw(t, "caller"),
			RosterRevision: rapid.Uint64().Draw(t, "revision"), TraceID: text("trace"), Modules: rapid.SliceOfN(drawnModule, 0, 3).Draw(t, "modules"),
			Request: drawnContent.Draw(t, "request"), Answer: drawnContent.Draw(t, "answer"),
		}
	})
)

// What is written by hand is what the tags of [decision.Record] say.
func TestRecordIsWrittenAsItsTypeSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := drawnRecord.Draw(t, "record")
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := records.AppendRecord(nil, &r); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v\n got %s\nwant %s", err, got, want)
		}
	})
}
