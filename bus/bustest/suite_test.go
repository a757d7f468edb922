package bustest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// refusal is what this homeserver tells a user.
type refusal struct{ errcode string }

func (r refusal) Error() string { return r.errcode }

func errcode(err error) string {
	if r, ok := errors.AsType[refusal](err); ok {
		return r.errcode
	}
	return ""
}

func create(ctx context.Context, modules *bus.Client) error {
	return createAs(ctx, modules, "@a:example.com")
}

func createAs(ctx context.Context, modules *bus.Client, user string) error {
	d, err := modules.SpamChecker.UserMayCreateRoom(ctx, &callbacksv1.UserMayCreateRoomRequest{UserId: user})
	if err != nil {
		return err
	}
	if r := d.Answer.GetRefusal(); r != nil {
		return refusal{r.GetErrcode()}
	}
	return nil
}

func TestGateFindsEachMistake(t *testing.T) {
	t.Parallel()
	for mistake, tt := range map[string]struct {
		do    Homeserver
		finds string
	}{
		"it lets errors pass": {func(ctx context.Context, m *bus.Client) error {
			if err := create(ctx, m); errcode(err) != "" {
				return err
			}
			return nil
		}, "a failure fails: the homeserver goes on"},
		"it takes errors for refusals": {func(ctx context.Context, m *bus.Client) error {
			if err := create(ctx, m); err != nil && errcode(err) == "" {
				return refusal{"M_FORBIDDEN"}
			} else if err != nil {
				return err
			}
			return nil
		}, "a module is away: the homeserver refuses with M_FORBIDDEN"},
		"it has a code of its own": {func(ctx context.Context, m *bus.Client) error {
			if err := create(ctx, m); errcode(err) != "" {
				return refusal{"M_FORBIDDEN"}
			} else if err != nil {
				return err
			}
			return nil
		}, "a module refuses: the homeserver refuses with M_FORBIDDEN"},
		"it does not ask":    {func(context.Context, *bus.Client) error { return nil }, "modules were asked 0 times"},
		"it asks twice":      {func(ctx context.Context, m *bus.Client) error { return errors.Join(create(ctx, m), create(ctx, m)) }, "modules were asked 2 times"},
		"it asks of nothing": {func(ctx context.Context, m *bus.Client) error { return createAs(ctx, m, "") }, "says nothing"},
	} {
		var found []string
		for _, s := range situations(subjects.UserMayCreateRoom) {
			if wrong := s.try(t, tt.do, errcode); wrong != "" {
				found = append(found, wrong)
			}
		}
		if !strings.Contains(strings.Join(found, "\n"), tt.finds) {
			t.Errorf("%s: found %q, want %q", mistake, found, tt.finds)
		}
	}
}
