package combine_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/combine/combinetest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	first  = callbacksv1.Rule_FIRST
	notify = callbacksv1.Rule_NOTIFY
	merge  = callbacksv1.Rule_MERGE
	fold   = callbacksv1.Rule_FOLD
	sole   = callbacksv1.Rule_SOLE

	skip   = callbacksv1.OnFailure_SKIP
	refuse = callbacksv1.OnFailure_REFUSE
	fail   = callbacksv1.OnFailure_FAIL

	nobody = combine.Nobody
)

var silence = combine.Outcome{}

func says(answer proto.Message) combine.Outcome { return combine.Outcome{Answer: answer} }

func refusesWith(errcode string) combine.Outcome { return says(denied(errcode)) }

func denied(errcode string) *callbacksv1.UserMayInviteResponse {
	return &callbacksv1.UserMayInviteResponse{Refusal: &callbacksv1.Refusal{Errcode: errcode}}
}

func expired(is bool) *callbacksv1.IsUserExpiredResponse {
	return &callbacksv1.IsUserExpiredResponse{Expired: &is}
}

func creates(content string) *callbacksv1.OnCreateRoomResponse {
	return &callbacksv1.OnCreateRoomResponse{RequestContent: []byte(content)}
}

func cannotCreate(errcode string) *callbacksv1.OnCreateRoomResponse {
	return &callbacksv1.OnCreateRoomResponse{Refusal: &callbacksv1.Refusal{Errcode: errcode}}
}

func shows(users ...string) *callbacksv1.GetInterestedUsersResponse {
	return &callbacksv1.GetInterestedUsersResponse{Users: users}
}

func showsAll() *callbacksv1.GetInterestedUsersResponse {
	return &callbacksv1.GetInterestedUsersResponse{AllUsers: true}
}

// routes gives each user a state by its name.
func routes(user string, states ...string) *callbacksv1.GetUsersForStatesResponse {
	set := &callbacksv1.UserPresenceStates{}
	for _, state := range states {
		set.States = append(set.States, &callbacksv1.UserPresenceState{UserId: state})
	}
	return &callbacksv1.GetUsersForStatesResponse{Users: map[string]*callbacksv1.UserPresenceStates{user: set}}
}

// adds gives an event a field.
func adds(event, name, value string) *callbacksv1.AddFieldToUnsignedCallbackResponse {
	fields := &callbacksv1.UnsignedFields{Fields: map[string][]byte{name: []byte(value)}}
	return &callbacksv1.AddFieldToUnsignedCallbackResponse{Unsigned: map[string]*callbacksv1.UnsignedFields{event: fields}}
}

func both(a, b proto.Message) proto.Message {
	proto.Merge(a, b)
	return a
}

func fails(kind rosterv1.FailureKind, policy callbacksv1.OnFailure, instead proto.Message) combine.Outcome {
	return combine.Outcome{Failure: kind, Policy: policy, Answer: instead}
}

func failed(module int, kind rosterv1.FailureKind, policy callbacksv1.OnFailure) []combine.Failure {
	return []combine.Failure{{Module: module, Kind: kind, Policy: policy}}
}

type outcomes = []combine.Outcome

func TestWalk(t *testing.T) {
	t.Parallel()
	const timeout, absent = rosterv1.FailureKind_TIMEOUT, rosterv1.FailureKind_ABSENT
	tests := map[string]struct {
		rule     callbacksv1.Rule
		modules  outcomes
		answer   proto.Message
		by       int
		failedBy int
		failures []combine.Failure
	}{
		"nobody is asked":                              {first, nil, nil, nobody, nobody, nil},
		"silence carries on":                           {first, outcomes{silence, silence}, nil, nobody, nobody, nil},
		"the first refusal decides":                    {first, outcomes{silence, refusesWith("A"), refusesWith("B")}, denied("A"), 1, nobody, nil},
		"false is an opinion where it is said":         {first, outcomes{says(expired(false)), says(expired(true))}, expired(false), 0, nobody, nil},
		"a failure that is skipped abstains":           {first, outcomes{fails(timeout, skip, nil), refusesWith("B")}, denied("B"), 1, nobody, failed(0, timeout, skip)},
		"a failure that refuses decides":               {first, outcomes{fails(absent, refuse, denied("F")), refusesWith("B")}, denied("F"), 0, nobody, failed(0, absent, refuse)},
		"a failure that fails ends the walk":           {first, outcomes{silence, fails(timeout, fail, nil), refusesWith("C")}, nil, nobody, 1, failed(1, timeout, fail)},
		"a failure without a policy fails":             {first, outcomes{fails(timeout, 0, nil)}, nil, nobody, 0, failed(0, timeout, 0)},
		"a failure behind the decision does not count": {first, outcomes{refusesWith("A"), fails(timeout, fail, nil)}, denied("A"), 0, nobody, nil},

		"acknowledgements are no answers":   {notify, outcomes{says(&callbacksv1.OnUserRegistrationResponse{}), silence}, nil, nobody, nobody, nil},
		"all are told though one failed":    {notify, outcomes{fails(timeout, skip, nil), silence}, nil, nobody, nobody, failed(0, timeout, skip)},
		"whoever must hear of it must hear": {notify, outcomes{fails(absent, fail, nil), silence}, nil, nobody, 0, failed(0, absent, fail)},

		"one module's answer is its own":              {merge, outcomes{silence, says(shows("a", "b"))}, shows("a", "b"), 1, nobody, nil},
		"sets are united in roster order":             {merge, outcomes{says(shows("b", "a")), says(shows("c", "b"))}, shows("b", "a", "c"), nobody, nobody, nil},
		"a set has nothing twice":                     {merge, outcomes{says(shows("a", "a"))}, shows("a"), 0, nobody, nil},
		"sets in maps are united by key":              {merge, outcomes{says(routes("a", "x")), says(routes("a", "y", "x"))}, routes("a", "x", "y"), nobody, nobody, nil},
		"an entry with an empty set is kept":          {merge, outcomes{says(routes("a")), silence}, routes("a"), 0, nobody, nil},
		"fields are united, and the later has it":     {merge, outcomes{says(adds("$1", "a", "1")), says(adds("$1", "a", "2")), says(adds("$2", "a", "3"))}, both(adds("$1", "a", "2"), adds("$2", "a", "3")), nobody, nobody, nil},
		"a final answer is the whole decision":        {merge, outcomes{says(shows("a")), says(showsAll()), says(shows("b"))}, showsAll(), 1, nobody, nil},
		"a failure that fails unsays what was said":   {merge, outcomes{says(shows("a")), fails(timeout, fail, nil)}, nil, nobody, 1, failed(1, timeout, fail)},
		"a failure that is skipped leaves the others": {merge, outcomes{says(shows("a")), fails(timeout, skip, nil), says(shows("b"))}, shows("a", "b"), nobody, nobody, failed(1, timeout, skip)},

		"the last content is the decision's":           {fold, outcomes{says(creates("1")), says(creates("2"))}, creates("2"), nobody, nobody, nil},
		"content that one module changed is its":       {fold, outcomes{silence, says(creates("1")), silence}, creates("1"), 1, nobody, nil},
		"a refusal ends a fold, whatever changed":      {fold, outcomes{says(creates("1")), says(cannotCreate("A")), says(creates("2"))}, cannotCreate("A"), 1, nobody, nil},
		"a failure that refuses ends a fold":           {fold, outcomes{says(creates("1")), fails(timeout, refuse, cannotCreate("F"))}, cannotCreate("F"), 1, nobody, failed(1, timeout, refuse)},
		"a failure that is skipped keeps what changed": {fold, outcomes{says(creates("1")), fails(timeout, skip, nil)}, creates("1"), 0, nobody, failed(1, timeout, skip)},

		"only the first is asked":              {sole, outcomes{silence, refusesWith("B")}, nil, nobody, nobody, nil},
		"the sole module decides":              {sole, outcomes{refusesWith("A"), refusesWith("B")}, denied("A"), 0, nobody, nil},
		"nobody stands in for the sole module": {sole, outcomes{fails(absent, skip, nil), refusesWith("B")}, nil, nobody, nobody, failed(0, absent, skip)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := combine.Decision{Answer: tt.answer, By: tt.by, FailedBy: tt.failedBy, Failures: tt.failures}
			request := &callbacksv1.OnCreateRoomRequest{}
			if diff := compare(want, combinetest.Interpret(tt.rule, tt.modules, request).Decision); diff != "" {
				t.Errorf("the interpreter disagrees (-want +got):\n%s", diff)
			}
			var w combine.Walk
			w.Start(tt.rule, false, len(tt.modules), request)
			for i, _, ok := w.Next(); ok; i, _, ok = w.Next() {
				w.Tell(i, tt.modules[i])
			}
			if diff := compare(want, w.Decision()); !w.Done() || diff != "" {
				t.Errorf("done: %v (-want +got):\n%s", w.Done(), diff)
			}
		})
	}
}

func TestFoldPassesOnWhatTheModulesBeforeMadeOfIt(t *testing.T) {
	t.Parallel()
	var w combine.Walk
	user := &callbacksv1.Requester{UserId: "@a:x"}
	w.Start(fold, false, 3, &callbacksv1.OnCreateRoomRequest{Requester: user, RequestContent: []byte("0")})
	var saw []string
	for i, request, ok := w.Next(); ok; i, request, ok = w.Next() {
		r := request.(*callbacksv1.OnCreateRoomRequest)
		if diff := cmp.Diff(user, r.GetRequester(), protocmp.Transform()); diff != "" {
			t.Errorf("the rest of the request changed:\n%s", diff)
		}
		saw = append(saw, string(r.GetRequestContent()))
		w.Tell(i, []combine.Outcome{says(creates("1")), silence, says(creates("2"))}[i])
	}
	if diff := cmp.Diff([]string{"0", "1", "1"}, saw); diff != "" {
		t.Error(diff)
	}
}

func TestNextModuleIsAskedWhenTheOneBeforeIsDone(t *testing.T) {
	t.Parallel()
	var w combine.Walk
	w.Start(first, false, 2, &callbacksv1.UserMayInviteRequest{})
	if i, _, ok := w.Next(); i != 0 || !ok {
		t.Fatalf("module %d comes first, %v", i, ok)
	}
	if i, _, ok := w.Next(); ok {
		t.Fatalf("module %d is asked while module 0 thinks", i)
	}
	w.Tell(0, silence)
	if i, _, ok := w.Next(); i != 1 || !ok {
		t.Fatalf("module %d comes second, %v", i, ok)
	}
}

func TestModuleThatTimedOutBeforeItsTurnIsNotAsked(t *testing.T) {
	t.Parallel()
	for _, parallel := range []bool{false, true} {
		var w combine.Walk
		w.Start(first, parallel, 3, &callbacksv1.UserMayInviteRequest{})
		w.Tell(0, fails(rosterv1.FailureKind_TIMEOUT, skip, nil))
		w.Tell(1, fails(rosterv1.FailureKind_TIMEOUT, skip, nil))
		if i, _, ok := w.Next(); i != 2 || !ok {
			t.Errorf("parallel %v: module %d is next, %v", parallel, i, ok)
		}
	}
}

func TestDecisionEndsTheAsking(t *testing.T) {
	t.Parallel()
	var w combine.Walk
	w.Start(first, true, 3, &callbacksv1.UserMayInviteRequest{})
	w.Next()
	w.Tell(0, refusesWith("A"))
	if i, _, ok := w.Next(); ok || w.Waiting(1) || !w.Done() {
		t.Errorf("module %d is asked, %v", i, ok)
	}
}

// A copy of what one module says would be most of what the ask costs.
func TestAnswerOfOneModuleIsNotCopied(t *testing.T) {
	t.Parallel()
	answer := adds("$1", "a", "1")
	var w combine.Walk
	w.Start(merge, true, 2, &callbacksv1.AddFieldToUnsignedCallbackRequest{})
	w.Tell(1, says(answer))
	w.Tell(0, silence)
	if got := w.Decision().Answer; got != proto.Message(answer) {
		t.Errorf("got %v, a copy", got)
	}
}

func TestParallel(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		options *callbacksv1.CallbackOptions
		want    bool
	}{
		"verdicts, where they are declared to be": {&callbacksv1.CallbackOptions{Rule: first, Speculative: true}, true},
		"not what must not be asked without need": {&callbacksv1.CallbackOptions{Rule: first}, false},
		"news":                              {&callbacksv1.CallbackOptions{Rule: notify}, true},
		"what every module is asked anyway": {&callbacksv1.CallbackOptions{Rule: merge}, true},
		"not what one module passes on to the next":  {&callbacksv1.CallbackOptions{Rule: fold, Speculative: true}, false},
		"not what is for one module":                 {&callbacksv1.CallbackOptions{Rule: sole, Speculative: true}, false},
		"not what this version does not know how to": {&callbacksv1.CallbackOptions{Rule: 99, Speculative: true}, false},
	}
	for name, tt := range tests {
		if got := combine.Parallel(tt.options); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	unknown := &callbacksv1.UserMayInviteResponse{}
	if err := proto.Unmarshal([]byte{0x98, 0x06, 0x01}, unknown); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		answer proto.Message
		want   bool
	}{
		"nothing set":                   {&callbacksv1.UserMayInviteResponse{}, true},
		"a typed nil":                   {(*callbacksv1.UserMayInviteResponse)(nil), true},
		"an unknown field":              {unknown, true},
		"a refusal without words":       {&callbacksv1.UserMayInviteResponse{Refusal: &callbacksv1.Refusal{}}, false},
		"an explicit false":             {expired(false), false},
		"a login that is nobody's":      {&callbacksv1.AuthCheckersResponse{TellLogin: true, Token: "t", Worker: "w"}, true},
		"a third party that is nobody":  {&callbacksv1.Check3PidAuthResponse{Token: "t"}, true},
		"a batch without a duration":    {&callbacksv1.OnUpdateResponse{Token: "t", Worker: "w"}, true},
		"a login":                       {&callbacksv1.AuthCheckersResponse{UserId: "@a:x", Token: "t"}, false},
		"a false that is only absent":   {&callbacksv1.GetInterestedUsersResponse{}, true},
		"a user who shall see nothing":  {routes("a"), false},
		"every reply, as it is made":    {subjects.OnCreateRoom.NewReply(), true},
		"a refusal of failure's policy": {subjects.OnCreateRoom.Refused(&callbacksv1.Refusal{}), false},
	}
	for name, tt := range tests {
		if got := combine.Empty(tt.answer); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestLastAnswerWinsWhereThereIsRoomForOne(t *testing.T) {
	t.Parallel()
	var w combine.Walk
	w.Start(merge, true, 2, &callbacksv1.GetUsersForStatesRequest{})
	w.Tell(1, says(&rosterv1.Entry{TimeoutMs: 2, TimeoutsMs: map[string]uint32{"b": 2, "c": 2}, Config: []byte("2")}))
	w.Tell(0, says(&rosterv1.Entry{TimeoutMs: 1, TimeoutsMs: map[string]uint32{"a": 1, "b": 1}, Listed: true}))
	want := &rosterv1.Entry{TimeoutMs: 2, TimeoutsMs: map[string]uint32{"a": 1, "b": 2, "c": 2}, Config: []byte("2"), Listed: true}
	if diff := cmp.Diff(want, w.Decision().Answer, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}
