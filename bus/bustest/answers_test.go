package bustest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
)

// interested is what a homeserver makes of answers that are merged.
func interested(ctx context.Context, modules *bus.Client) (string, error) {
	return interestedIn(ctx, modules, "@a:example.com")
}

func interestedIn(ctx context.Context, modules *bus.Client, user string) (string, error) {
	d, err := modules.PresenceRouter.GetInterestedUsers(ctx, &callbacksv1.GetInterestedUsersRequest{UserId: user})
	users := slices.Clone(d.Answer.GetUsers())
	slices.Sort(users)
	return strings.Join(users, " "), err
}

func users(all ...string) *callbacksv1.GetInterestedUsersResponse {
	return &callbacksv1.GetInterestedUsersResponse{Users: all}
}

func TestAnswersFindsNothingWrongWithARightHomeserver(t *testing.T) {
	t.Parallel()
	Answers(t, subjects.GetInterestedUsers, interested, users("@b:example.com"), users("@c:example.com"))
	created := func(ctx context.Context, modules *bus.Client) (string, error) {
		content := []byte(`{"name": "x"}`)
		d, err := modules.ThirdPartyRules.OnCreateRoom(ctx, &callbacksv1.OnCreateRoomRequest{RequestContent: content})
		if d.Answer != nil && d.Answer.RequestContent != nil {
			content = d.Answer.GetRequestContent()
		}
		return string(content), err
	}
	named := func(name string) *callbacksv1.OnCreateRoomResponse {
		return &callbacksv1.OnCreateRoomResponse{RequestContent: []byte(`{"name": "` + name + `"}`)}
	}
	Answers(t, subjects.OnCreateRoom, created, named("y"), named("z"))
}

func TestAnswersFindsEachMistake(t *testing.T) {
	t.Parallel()
	for mistake, tt := range map[string]struct {
		do    Use
		finds string
	}{
		"it uses no answer":   {func(ctx context.Context, m *bus.Client) (string, error) { _, err := interested(ctx, m); return "", err }, "a module answers: \"\" comes of it"},
		"it lets errors pass": {func(ctx context.Context, m *bus.Client) (string, error) { s, _ := interested(ctx, m); return s, nil }, "a failure fails: it goes on"},
		"it fails with each failure": {func(ctx context.Context, m *bus.Client) (string, error) {
			d, err := m.PresenceRouter.GetInterestedUsers(ctx, &callbacksv1.GetInterestedUsersRequest{UserId: "@a:example.com"})
			if err == nil && len(d.Failures) > 0 {
				err = errors.New("a module failed")
			}
			return strings.Join(d.Answer.GetUsers(), " "), err
		}, "a failure is skipped: it fails"},
		"it uses one of several": {func(ctx context.Context, m *bus.Client) (string, error) {
			s, err := interested(ctx, m)
			if len(m.Roster().GetModules()) > 1 {
				s, _, _ = strings.Cut(s, " ")
			}
			return s, err
		}, "where one module says the same"},
		"it asks twice": {func(ctx context.Context, m *bus.Client) (string, error) {
			_, err := interested(ctx, m)
			s, again := interested(ctx, m)
			return s, errors.Join(err, again)
		}, "modules were asked 2 times"},
		"it asks of nothing": {func(ctx context.Context, m *bus.Client) (string, error) { return interestedIn(ctx, m, "") }, "says nothing"},
	} {
		var found []string
		for _, u := range uses(subjects.GetInterestedUsers, users("@b:example.com"), users("@c:example.com")) {
			found = append(found, u.try(t, tt.do))
		}
		if !strings.Contains(strings.Join(found, "\n"), tt.finds) {
			t.Errorf("%s: found %q, want %q", mistake, found, tt.finds)
		}
	}
}

// asked is a homeserver with one method.
type asked struct {
	bus.UnimplementedModuleAPI

	admin func(context.Context) (*moduleapiv1.IsUserAdminResponse, error)
}

// IsUserAdmin implements [bus.ModuleAPI].
func (a asked) IsUserAdmin(ctx context.Context, _ *moduleapiv1.IsUserAdminRequest) (*moduleapiv1.IsUserAdminResponse, error) {
	return a.admin(ctx)
}

func TestCallsFindsEachMistake(t *testing.T) {
	t.Parallel()
	Calls(t, bus.UnimplementedModuleAPI{})
	for mistake, tt := range map[string]struct {
		admin func(context.Context) (*moduleapiv1.IsUserAdminResponse, error)
		finds string
	}{
		"none": {func(context.Context) (*moduleapiv1.IsUserAdminResponse, error) {
			return &moduleapiv1.IsUserAdminResponse{}, nil
		}, ""},
		"it says nothing":  {func(context.Context) (*moduleapiv1.IsUserAdminResponse, error) { return nil, nil }, "neither a reply nor an error"}, //nolint:nilnil // the mistake
		"an error of Go's": {func(context.Context) (*moduleapiv1.IsUserAdminResponse, error) { return nil, errors.New("no row") }, "modules are told nothing of"},
		"it panics":        {func(context.Context) (*moduleapiv1.IsUserAdminResponse, error) { panic("no user") }, "it panics: no user"},
	} {
		err := answered(t.Context(), reflect.ValueOf(asked{admin: tt.admin}).MethodByName("IsUserAdmin"))
		if (err == nil) != (tt.finds == "") || err != nil && !strings.Contains(err.Error(), tt.finds) {
			t.Errorf("%s: found %v, want %q", mistake, err, tt.finds)
		}
	}
}
