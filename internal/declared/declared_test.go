package declared_test

import (
	"testing"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestViewIsTheSameForEachFormOfACallback(t *testing.T) {
	t.Parallel()
	for _, d := range subjects.All() {
		if v := declared.Of(d); v == nil || v.Declaration != d {
			t.Errorf("%s has the view %v", d.FullName(), v)
		}
	}
	if declared.Of(subjects.AuthCheckers) != declared.Of(subjects.AuthCheckers.Declaration) {
		t.Error("a callback and its declaration have two views")
	}
}

// order is what orders a request that is about the user @u, or the room !r.
func order(c subjects.AnyCallback) string {
	d := subjects.DeclarationOf(c)
	req := d.NewRequest()
	switch r := req.(type) {
	case *callbacksv1.OnNewEventRequest:
		r.Event = &callbacksv1.Event{RoomId: "!r"}
	case *callbacksv1.OnProfileUpdateRequest:
		r.UserId = "@u"
	}
	value, _ := declared.Of(d).OrderOf(req)
	return value
}

func TestViewFindsTheFieldsWithARole(t *testing.T) {
	t.Parallel()
	auth, allowed, update := declared.Of(subjects.AuthCheckers), declared.Of(subjects.CheckEventAllowed), declared.Of(subjects.OnUpdate)
	for field, ok := range map[string]bool{
		"a key":                  auth.Key != nil && auth.Key.Name() == "login_type",
		"a keyed object":         auth.Keyed != nil && auth.Keyed.Name() == "login_dict",
		"state":                  allowed.State != nil && allowed.State.Name() == "state_events",
		"a file":                 declared.Of(subjects.CheckMediaFileForSpam).File != nil,
		"the worker of a reply":  update.FromWorker != nil && update.FromWorker.Name() == "worker",
		"no key where none is":   allowed.Key == nil && allowed.Keyed == nil && allowed.File == nil,
		"what orders news":       order(subjects.OnNewEvent) == "!r" && order(subjects.OnProfileUpdate) == "@u" && order(subjects.OnEventDeliveredOverFederation) == "",
		"a module that is told":  declared.Of(subjects.OnUpdateEnd).ToModule != nil && declared.Of(subjects.OnUpdateEnd).ToWorker != nil,
		"what is followed up if": auth.FollowIf != nil && auth.FollowIf.Name() == "tell_login" && update.FollowIf == nil,
	} {
		if !ok {
			t.Errorf("does not find %s", field)
		}
	}
}
