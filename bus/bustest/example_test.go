package bustest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/bus/bustest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// mayCreateRoom is what a homeserver wants tested.
func mayCreateRoom(ctx context.Context, modules *bus.Client, user string) (bool, error) {
	decision, err := modules.SpamChecker.UserMayCreateRoom(ctx, &callbacksv1.UserMayCreateRoomRequest{UserId: user})
	return err == nil && decision.Answer.GetRefusal() == nil, err
}

func TestRefusedRoom(t *testing.T) {
	t.Parallel()
	modules := bustest.New(t, bustest.Answer(subjects.UserMayCreateRoom, &callbacksv1.UserMayCreateRoomResponse{
		Refusal: &callbacksv1.Refusal{Errcode: "M_FORBIDDEN"},
	}))
	if may, err := mayCreateRoom(t.Context(), modules, "@evilguy:example.com"); may || err != nil {
		t.Errorf("may create rooms: %v (%v); want a refusal", may, err)
	}
}

func TestModuleThatFails(t *testing.T) {
	t.Parallel()
	modules := bustest.New(t,
		bustest.Fail(subjects.UserMayCreateRoom, rosterv1.FailureKind_TIMEOUT).
			By("slow").Timeout(time.Millisecond).OnFailure(callbacksv1.OnFailure_SKIP),
		bustest.Answer(subjects.UserMayCreateRoom, nil).By("quiet"),
	)
	if may, err := mayCreateRoom(t.Context(), modules, "@alice:example.com"); !may || err != nil {
		t.Errorf("may create rooms: %v (%v); want it to pass over the module that failed", may, err)
	}
}

// refusal is how this homeserver tells a user that something was refused.
type refusal struct{ errcode string }

// Error implements error.
func (r refusal) Error() string { return r.errcode }

func errcodeOf(err error) string {
	if r, ok := errors.AsType[refusal](err); ok {
		return r.errcode
	}
	return ""
}

func createRoom(ctx context.Context, modules *bus.Client) error {
	decision, err := modules.SpamChecker.UserMayCreateRoom(ctx, &callbacksv1.UserMayCreateRoomRequest{UserId: "@alice:example.com"})
	if r := decision.Answer.GetRefusal(); err == nil && r != nil {
		return refusal{r.GetErrcode()}
	}
	return err
}

func TestRoomsAreGated(t *testing.T) {
	t.Parallel()
	bustest.Gate(t, subjects.UserMayCreateRoom, createRoom, errcodeOf)
}

// Each test has a client of its own, which answers from a script.
//
//nolint:testableexamples // Only a test has a testing.TB; the tests above run the same.
func Example() {
	var t testing.TB // the test's

	refuse := bustest.Answer(subjects.UserMayCreateRoom, &callbacksv1.UserMayCreateRoomResponse{
		Refusal: &callbacksv1.Refusal{Errcode: "M_FORBIDDEN"},
	})
	down := bustest.Fail(subjects.UserMayCreateRoom, rosterv1.FailureKind_ABSENT)
	modules := bustest.New(t, refuse.By("gate"), down.By("policy-list").OnFailure(callbacksv1.OnFailure_SKIP))

	if may, err := mayCreateRoom(t.Context(), modules, "@evilguy:example.com"); may || err != nil {
		t.Errorf("may create rooms: %v (%v)", may, err)
	}
}
