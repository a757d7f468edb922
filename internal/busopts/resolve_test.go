package busopts_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestResolvedFillsInWhatIsLeftOpenAndNothingElse(t *testing.T) {
	t.Parallel()
	const fail, skip = callbacksv1.OnFailure_FAIL, callbacksv1.OnFailure_SKIP
	name := subjects.CheckEventForSpam.FullName()
	roster := func(all ...*rosterv1.Interest) *rosterv1.Roster {
		for _, i := range all {
			i.Callback = name
		}
		return &rosterv1.Roster{Modules: []*rosterv1.Module{{Name: "m", Callbacks: all}}}
	}
	own := subjects.CheckEventForSpam.Options
	given := roster(
		&rosterv1.Interest{},
		&rosterv1.Interest{OnFailure: skip},
		&rosterv1.Interest{TimeoutMs: 7, BreakerOpenMs: 8, OnFailure: fail, OnFailureFederated: skip},
	)
	want := roster(
		&rosterv1.Interest{TimeoutMs: 1000, BreakerOpenMs: 5000, OnFailure: own.GetOnFailure(), OnFailureFederated: own.GetOnFailureFederated()},
		&rosterv1.Interest{TimeoutMs: 1000, BreakerOpenMs: 5000, OnFailure: skip, OnFailureFederated: skip},
		&rosterv1.Interest{TimeoutMs: 7, BreakerOpenMs: 8, OnFailure: fail, OnFailureFederated: skip},
	)
	want.BudgetMs = 5000
	if diff := cmp.Diff(want, busopts.Resolved(given), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if given.GetBudgetMs() != 0 {
		t.Error("the roster that was given has changed")
	}
}
