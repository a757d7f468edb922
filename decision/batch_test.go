package decision_test

import (
	"slices"
	"testing"

	"github.com/modulebus/modulebus/decision"
)

func TestRefusalsAreThoseOfTheNamedCallbacks(t *testing.T) {
	t.Parallel()
	b := decision.Batch{Decisions: []decision.Record{
		{ID: "1", Callback: "a.b", Outcome: decision.Refused},
		{ID: "2", Callback: "a.b", Outcome: decision.Answered},
		{ID: "3", Callback: "a.c", Outcome: decision.Refused},
		{ID: "4", Callback: "a.d", Outcome: decision.Refused},
	}}
	var got []string
	for _, r := range b.Refusals("a.b", "a.d") {
		got = append(got, r.ID)
	}
	if !slices.Equal(got, []string{"1", "4"}) || len(b.Refusals()) > 0 {
		t.Errorf("got %q, and without a callback %d", got, len(b.Refusals()))
	}
}
