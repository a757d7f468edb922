package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// room is some state.
var room = []*callbacksv1.StateEvent{
	{Type: "m.room.create"},
	{Type: "m.room.member", StateKey: "@alice:x"},
	{Type: "m.room.member", StateKey: "@bob:x"},
	{Type: "m.room.power_levels"},
}

// fetched counts how often room state is fetched, and remembers which.
type fetched struct {
	times  int
	filter *rosterv1.StateFilter
}

func (f *fetched) fetch(_ context.Context, filter *rosterv1.StateFilter) ([]*callbacksv1.StateEvent, error) {
	f.times++
	f.filter = filter
	return room, nil
}

// seen is what each module saw of a room.
type seen struct {
	mu sync.Mutex
	by map[string]string
}

// needs is a module that is asked about rooms, and needs that state.
func (s *seen) needs(filters ...modulekit.StateFilter) func(*modulekit.ModuleAPI) {
	return func(api *modulekit.ModuleAPI) {
		if filters != nil {
			api.NeedState(subjects.CheckVisibilityCanBeModified, filters...)
		}
		api.RegisterThirdPartyRulesCallbacks(modulekit.ThirdPartyRulesCallbacks{
			CheckVisibilityCanBeModified: func(_ context.Context, req *callbacksv1.CheckVisibilityCanBeModifiedRequest) (*callbacksv1.CheckVisibilityCanBeModifiedResponse, error) {
				var events []string
				for _, e := range req.GetStateEvents() {
					events = append(events, e.GetType()+e.GetStateKey())
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				s.by[api.Name()] = strings.Join(events, " ")
				return nil, nil
			},
		})
	}
}

func (s *seen) want(t *testing.T, want map[string]string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(want, s.by); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.by = map[string]string{}
}

func TestModuleGetsTheStateThatItNeeds(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("none"), entry("levels"), entry("alice"), entry("members"), entry("all"))
	saw, got := seen{by: map[string]string{}}, fetched{}
	ask := func() {
		t.Helper()
		ctx := bus.WithState(t.Context(), got.fetch)
		if d, err := s.ThirdPartyRules.CheckVisibilityCanBeModified(ctx, &callbacksv1.CheckVisibilityCanBeModifiedRequest{}); err != nil || d.Answer != nil {
			t.Errorf("got %v, %v", d, err)
		}
	}
	ask() // of nobody
	s.run("none", "w", saw.needs())
	ask()
	saw.want(t, map[string]string{"none": ""})
	if got.times != 0 {
		t.Errorf("state was fetched %d times, and nobody needs any", got.times)
	}

	alice := "@alice:x"
	s.run("alice", "w", saw.needs(modulekit.StateFilter{Type: "m.room.member", StateKey: &alice}, modulekit.StateFilter{Type: "m.room.create"}))
	s.run("levels", "w", saw.needs(modulekit.StateFilter{Type: "m.room.power_levels"}, modulekit.StateFilter{Type: "m.room.create"}))
	s.run("members", "w", saw.needs(modulekit.StateFilter{Type: "m.room.member"}))
	ask()
	some := map[string]string{
		"none": "", "alice": "m.room.create m.room.member@alice:x", "levels": "m.room.create m.room.power_levels",
		"members": "m.room.member@alice:x m.room.member@bob:x",
	}
	saw.want(t, some)
	want := &rosterv1.StateFilter{Keys: []*rosterv1.StateKey{
		{Type: "m.room.power_levels"}, {Type: "m.room.create"}, {Type: "m.room.member", StateKey: &alice}, {Type: "m.room.member"},
	}}
	order := protocmp.SortRepeatedFields(want, "keys")
	if diff := cmp.Diff(want, got.filter, protocmp.Transform(), order); diff != "" || got.times != 1 {
		t.Errorf("fetched %d times (-want +got):\n%s", got.times, diff)
	}
	if diff := cmp.Diff(want, s.StateFilter(subjects.CheckVisibilityCanBeModified), protocmp.Transform(), order); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	s.run("all", "w", saw.needs(modulekit.AllState()))
	ask()
	some["all"] = "m.room.create m.room.member@alice:x m.room.member@bob:x m.room.power_levels"
	saw.want(t, some)
	if !got.filter.GetAll() || got.times != 2 {
		t.Errorf("fetched %v", got.filter)
	}

	// A homeserver that has it anyway may give it.
	if _, err := s.ThirdPartyRules.CheckVisibilityCanBeModified(bus.WithState(t.Context(), got.fetch),
		&callbacksv1.CheckVisibilityCanBeModifiedRequest{StateEvents: room[:1]}); err != nil || got.times != 2 {
		t.Errorf("%v; fetched %d times", err, got.times)
	}
	saw.want(t, map[string]string{
		"none": "", "alice": "m.room.create", "levels": "m.room.create", "members": "", "all": "m.room.create",
	})
}

func TestErrorOfTheFetchIsTheAsks(t *testing.T) {
	t.Parallel()
	d := subjects.CheckVisibilityCanBeModified.Declaration
	m := module(d, "a", &rosterv1.Interest{Needs: &rosterv1.Needs{State: &rosterv1.StateFilter{All: true}}})
	l := &line{}
	c := over(t, l, &rosterv1.Roster{Revision: 1, Modules: []*rosterv1.Module{m}})
	down := errors.New("the database is down")
	ctx := bus.WithState(t.Context(), func(context.Context, *rosterv1.StateFilter) ([]*callbacksv1.StateEvent, error) { return nil, down })
	got, err := c.ThirdPartyRules.CheckVisibilityCanBeModified(ctx, &callbacksv1.CheckVisibilityCanBeModifiedRequest{})
	if !errors.Is(err, down) || got.Answer != nil || len(l.sent) > 0 {
		t.Errorf("got %v, %v; sent %v", got, err, l.sent)
	}
	if diff := cmp.Diff(bus.Decision[*callbacksv1.CheckVisibilityCanBeModifiedResponse]{RosterRevision: 1}, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
