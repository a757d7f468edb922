package bus

import (
	"testing"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// What a roster leaves open, or what this version of a callback cannot express, never opens the gate.
func TestPolicyThatTheRosterLeavesOpenIsFail(t *testing.T) {
	t.Parallel()
	refusable, other := subjects.UserMayCreateRoom.Declaration, subjects.OnUserRegistration.Declaration
	for _, row := range []struct {
		of       *subjects.Declaration
		says, is callbacksv1.OnFailure
	}{
		{refusable, callbacksv1.OnFailure_ON_FAILURE_UNSPECIFIED, callbacksv1.OnFailure_FAIL},
		{refusable, callbacksv1.OnFailure_REFUSE, callbacksv1.OnFailure_REFUSE},
		{refusable, callbacksv1.OnFailure_SKIP, callbacksv1.OnFailure_SKIP},
		{other, callbacksv1.OnFailure_REFUSE, callbacksv1.OnFailure_FAIL},
	} {
		if got := policy(row.of, row.says); got != row.is {
			t.Errorf("%s: %v became %v, want %v", row.of.FullName(), row.says, got, row.is)
		}
	}
}
