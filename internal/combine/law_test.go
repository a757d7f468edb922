package combine_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// question is one ask, and what each module makes of it.
type question struct {
	rule    callbacksv1.Rule
	request proto.Message
	modules []combine.Outcome
}

// kind is what questions are drawn from.
type kind struct {
	rule    callbacksv1.Rule
	request *rapid.Generator[proto.Message]
	answer  *rapid.Generator[proto.Message]
}

// kinds are each rule, with each shape of reply.
var kinds = []kind{
	{callbacksv1.Rule_FIRST, just(&callbacksv1.UserMayInviteRequest{}), invites},
	{callbacksv1.Rule_FIRST, just(&callbacksv1.IsUserExpiredRequest{}), expiries},
	{callbacksv1.Rule_FIRST, just(&callbacksv1.CheckRegistrationForSpamRequest{}), registrations},
	{callbacksv1.Rule_FIRST, just(&callbacksv1.CheckEventAllowedRequest{}), replacements},
	{callbacksv1.Rule_NOTIFY, just(&callbacksv1.OnUserRegistrationRequest{User: "@a:x"}), just(&callbacksv1.OnUserRegistrationResponse{})},
	{callbacksv1.Rule_MERGE, just(&callbacksv1.GetUsersForStatesRequest{}), usersForStates},
	{callbacksv1.Rule_MERGE, just(&callbacksv1.GetInterestedUsersRequest{UserId: "@a:x"}), interestedUsers},
	{callbacksv1.Rule_FOLD, rooms, roomContents},
	{callbacksv1.Rule_SOLE, just(&callbacksv1.UserMayInviteRequest{}), invites},
}

// just draws copies, because two tests that log the same message at once race.
func just(m proto.Message) *rapid.Generator[proto.Message] {
	return rapid.Map(rapid.Just(m), proto.Clone)
}

var (
	users   = rapid.SampledFrom([]string{"@a:x", "@b:x", "@c:y", "@d:z"})
	content = rapid.SampledFrom([]string{`{}`, `{"preset":"private_chat"}`, `{ "name" : "A" }`, `{"name":"B"}`})
	refusal = rapid.Custom(func(t *rapid.T) *callbacksv1.Refusal {
		r := &callbacksv1.Refusal{Errcode: rapid.SampledFrom([]string{"", "M_FORBIDDEN", "ORG_X"}).Draw(t, "errcode")}
		if rapid.Bool().Draw(t, "more") {
			r.Error, r.HttpStatus = rapid.String().Draw(t, "error"), proto.Uint32(rapid.Uint32().Draw(t, "status"))
			r.AdditionalFields = []byte(content.Draw(t, "fields"))
		}
		return r
	})

	invites = rapid.Custom(func(t *rapid.T) proto.Message {
		return &callbacksv1.UserMayInviteResponse{Refusal: refusal.Draw(t, "refusal")}
	})
	expiries = rapid.Custom(func(t *rapid.T) proto.Message {
		return &callbacksv1.IsUserExpiredResponse{Expired: proto.Bool(rapid.Bool().Draw(t, "expired"))}
	})
	registrations = rapid.Custom(func(t *rapid.T) proto.Message {
		if rapid.Bool().Draw(t, "shadow ban") {
			return &callbacksv1.CheckRegistrationForSpamResponse{ShadowBan: true}
		}
		return &callbacksv1.CheckRegistrationForSpamResponse{Refusal: refusal.Draw(t, "refusal")}
	})
	replacements = rapid.Custom(func(t *rapid.T) proto.Message {
		if rapid.Bool().Draw(t, "replaces") {
			return &callbacksv1.CheckEventAllowedResponse{Replacement: []byte(content.Draw(t, "event"))}
		}
		return &callbacksv1.CheckEventAllowedResponse{Refusal: refusal.Draw(t, "refusal")}
	})
	usersForStates = rapid.Custom(func(t *rapid.T) proto.Message {
		a := &callbacksv1.GetUsersForStatesResponse{Users: map[string]*callbacksv1.UserPresenceStates{}}
		for _, user := range rapid.SliceOfN(users, 1, 4).Draw(t, "users") {
			a.Users[user] = &callbacksv1.UserPresenceStates{States: rapid.SliceOfN(states, 0, 4).Draw(t, "states")}
		}
		return a
	})
	states = rapid.Custom(func(t *rapid.T) *callbacksv1.UserPresenceState {
		return &callbacksv1.UserPresenceState{
			UserId: users.Draw(t, "user"), State: rapid.SampledFrom([]string{"online", "offline"}).Draw(t, "state"),
		}
	})
	interestedUsers = rapid.Custom(func(t *rapid.T) proto.Message {
		return &callbacksv1.GetInterestedUsersResponse{
			Users:    rapid.SliceOfN(users, 1, 4).Draw(t, "users"),
			AllUsers: rapid.IntRange(0, 4).Draw(t, "all") == 0,
		}
	})
	rooms = rapid.Custom(func(t *rapid.T) proto.Message {
		return &callbacksv1.OnCreateRoomRequest{
			Requester:      &callbacksv1.Requester{UserId: users.Draw(t, "user"), Scope: []string{"s"}},
			RequestContent: []byte(content.Draw(t, "content")),
		}
	})
	roomContents = rapid.Custom(func(t *rapid.T) proto.Message {
		a := &callbacksv1.OnCreateRoomResponse{}
		if rapid.Bool().Draw(t, "changes") {
			a.RequestContent = []byte(content.Draw(t, "content"))
		}
		if a.RequestContent == nil || rapid.IntRange(0, 4).Draw(t, "both") == 0 {
			a.Refusal = refusal.Draw(t, "refusal")
		}
		return a
	})
)

var questions = rapid.Custom(func(t *rapid.T) question {
	kind := rapid.SampledFrom(kinds).Draw(t, "kind")
	refuses := rapid.Custom(func(t *rapid.T) proto.Message {
		answer := kind.answer.Draw(t, "refused").ProtoReflect().New()
		field := answer.Descriptor().Fields().ByName("refusal")
		if field == nil {
			return nil
		}
		answer.Set(field, answer.NewField(field))
		return answer.Interface()
	})
	module := rapid.Custom(func(t *rapid.T) combine.Outcome {
		switch rapid.IntRange(0, 3).Draw(t, "does") {
		case 0:
			return combine.Outcome{}
		case 1:
			return failure(t, refuses.Draw(t, "instead"))
		}
		return combine.Outcome{Answer: kind.answer.Draw(t, "answer")}
	})
	return question{
		rule:    kind.rule,
		request: kind.request.Draw(t, "request"),
		modules: rapid.SliceOfN(module, 0, 7).Draw(t, "modules"),
	}
})

// parallel draws whether the modules are asked at the same time, where the rule allows for it.
func (q question) parallel(t *rapid.T) bool {
	return q.rule != callbacksv1.Rule_FOLD && rapid.Bool().Draw(t, "parallel")
}

// failure draws a failure of a module that instead can refuse with an answer, or with nothing if that is nil.
func failure(t *rapid.T, instead proto.Message) combine.Outcome {
	policies := []callbacksv1.OnFailure{callbacksv1.OnFailure_SKIP, callbacksv1.OnFailure_FAIL}
	if instead != nil {
		policies = append(policies, callbacksv1.OnFailure_REFUSE)
	}
	o := combine.Outcome{
		Failure: rosterv1.FailureKind(rapid.Int32Range(1, int32(rosterv1.FailureKind_BREAKER_OPEN)).Draw(t, "failure")),
		Policy:  rapid.SampledFrom(policies).Draw(t, "policy"),
	}
	if o.Policy == callbacksv1.OnFailure_REFUSE {
		o.Answer = instead
	}
	return o
}

// run is one way that a walk can take.
type run struct {
	decision combine.Decision
	asked    []int
	saw      []proto.Message
	modules  []combine.Outcome // what was told of each in the end
	hurried  bool              // time ran out before all were told
}

// drive walks in an order of arrival that it draws. Outcomes arrive twice, late, or of modules there are none of, and
// sometimes time runs out: then those not heard of time out.
func drive(t *rapid.T, w *combine.Walk, q question, parallel bool) run {
	r := run{modules: slices.Clone(q.modules)}
	w.Start(q.rule, parallel, len(q.modules), q.request)
	var pending []int
	for {
		for i, request, ok := w.Next(); ok; i, request, ok = w.Next() {
			if i != len(r.asked) {
				t.Fatalf("module %d is asked after %v", i, r.asked)
			}
			r.asked, r.saw, pending = append(r.asked, i), append(r.saw, proto.Clone(request)), append(pending, i)
		}
		if w.Done() {
			break
		}
		switch rapid.IntRange(0, 9).Draw(t, "event") {
		case 0:
			r.hurry(t, w)
		case 1:
			r.noise(t, w, pending)
		default:
			i := rapid.SampledFrom(pending).Draw(t, "arrives")
			pending = slices.DeleteFunc(pending, func(j int) bool { return i == j })
			w.Tell(i, r.modules[i])
		}
	}
	r.decision = w.Decision()
	r.noise(t, w, nil)
	return r
}

// hurry tells that those not heard of timed out, in any order.
func (r *run) hurry(t *rapid.T, w *combine.Walk) {
	r.hurried = true
	var late []int
	for i := range r.modules {
		if w.Waiting(i) {
			late = append(late, i)
		}
	}
	for _, i := range rapid.Permutation(late).Draw(t, "expire") {
		late := combine.Outcome{Failure: rosterv1.FailureKind_TIMEOUT, Policy: r.modules[i].Policy}
		if late.Policy == callbacksv1.OnFailure_ON_FAILURE_UNSPECIFIED {
			late.Policy = callbacksv1.OnFailure_SKIP
		}
		if late.Policy == callbacksv1.OnFailure_REFUSE {
			late.Answer = r.modules[i].Answer
		}
		if w.Waiting(i) {
			r.modules[i] = late
		}
		w.Tell(i, late)
	}
}

// noise tells once more of modules that were told of, and of some that do not exist.
func (r *run) noise(t *rapid.T, w *combine.Walk, pending []int) {
	before := w.Decision()
	for i := range len(r.modules) + 2 {
		if !w.Waiting(i) && !slices.Contains(pending, i) {
			w.Tell(i, failure(t, nil))
		}
	}
	if diff := compare(before, w.Decision()); diff != "" {
		t.Fatalf("late news changed the decision:\n%s", diff)
	}
}

func compare(want, got combine.Decision) string {
	return cmp.Diff(want, got, protocmp.Transform(), cmpopts.EquateEmpty())
}

// raw is the decision as bytes.
func raw(t *rapid.T, d combine.Decision) string {
	answer, err := proto.MarshalOptions{Deterministic: true}.Marshal(d.Answer)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x %d %d %v", answer, d.By, d.FailedBy, d.Failures)
}

// The law of the package. With -rapid.checks=100000 it looks for longer.
func TestTheDecisionIsThatOfAskingInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := questions.Draw(t, "question")
		parallel := q.parallel(t)
		r := drive(t, &combine.Walk{}, q, parallel)
		want := interpret(q.rule, r.modules, q.request)
		if diff := compare(want.Decision, r.decision); diff != "" {
			t.Fatalf("the decision differs (-want +got):\n%s", diff)
		}
		asked, needed := len(r.saw), len(want.Saw)
		if asked > needed && !parallel || asked < needed && !r.hurried {
			t.Fatalf("%d modules were asked, of which %d were needed", asked, needed)
		}
		both := min(asked, needed)
		if diff := cmp.Diff(want.Saw[:both], r.saw[:both], protocmp.Transform(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("modules were asked something else (-want +got):\n%s", diff)
		}
	})
}

func TestTheOrderOfArrivalCannotBeTold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := questions.Draw(t, "question")
		var walk combine.Walk // Used twice, as by a driver that pools them.
		one := drive(t, &walk, q, q.parallel(t))
		said := raw(t, one.decision)
		q.modules = one.modules
		other := drive(t, &walk, q, q.parallel(t))
		if !other.hurried && raw(t, other.decision) != said {
			t.Fatalf("one order: %s\nanother:   %s", said, raw(t, other.decision))
		}
		if raw(t, one.decision) != said {
			t.Fatalf("a later walk changed the decision: %s, was %s", raw(t, one.decision), said)
		}
	})
}

func TestAnswersAndRequestsAreOnlyRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := questions.Draw(t, "question")
		said := []proto.Message{q.request}
		for _, m := range q.modules {
			said = append(said, m.Answer)
		}
		var before [][]byte
		for _, m := range said {
			before = append(before, deterministic(t, m))
		}
		drive(t, &combine.Walk{}, q, q.parallel(t))
		for i, m := range said {
			if after := deterministic(t, m); !bytes.Equal(before[i], after) {
				t.Fatalf("message %d became %v", i, m)
			}
		}
	})
}

func deterministic(t *rapid.T, m proto.Message) []byte {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAnAbstainingModuleChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := questions.Draw(t, "question")
		first := 0
		if q.rule == callbacksv1.Rule_SOLE {
			first = min(1, len(q.modules)) // Whoever comes first is the sole one.
			if len(q.modules) == 0 {
				t.Skip("who is added is the sole one")
			}
		}
		at := rapid.IntRange(first, len(q.modules)).Draw(t, "at")
		parallel := q.parallel(t)
		without := drive(t, &combine.Walk{}, q, parallel)
		q.modules = slices.Insert(slices.Clone(without.modules), at, combine.Outcome{})
		with := drive(t, &combine.Walk{}, q, parallel)
		if with.hurried {
			t.Skip("other modules timed out")
		}
		if diff := compare(renumber(without.decision, at), with.decision); diff != "" {
			t.Fatalf("an abstaining module %d changed the decision:\n%s", at, diff)
		}
	})
}

func renumber(d combine.Decision, at int) combine.Decision {
	moved := func(module int) int {
		if module >= at {
			return module + 1
		}
		return module
	}
	d.By, d.FailedBy, d.Failures = moved(d.By), moved(d.FailedBy), slices.Clone(d.Failures)
	for i := range d.Failures {
		d.Failures[i].Module = moved(d.Failures[i].Module)
	}
	return d
}

// What modules make of a callback is what its rule says, so every rule that is declared must be among the questions.
func TestEveryDeclaredRuleIsQuestioned(t *testing.T) {
	t.Parallel()
	for _, d := range subjects.All() {
		if rule := d.Options.GetRule(); !slices.ContainsFunc(kinds, func(k kind) bool { return k.rule == rule }) {
			t.Errorf("%s: no question of rule %v", d.FullName(), rule)
		}
	}
}
