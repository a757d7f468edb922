package combinetest

import (
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Kind is what questions are drawn from: a callback, and how requests and answers of it come about. Answers say something,
// unless there is nothing to say.
type Kind struct {
	Callback *subjects.Declaration
	Request  *rapid.Generator[proto.Message]
	Answer   *rapid.Generator[proto.Message]
}

// Rule is how answers combine.
func (k Kind) Rule() callbacksv1.Rule { return k.Callback.Options.GetRule() }

// Kinds are each rule, asked speculatively or not, with each shape of reply.
var Kinds = []Kind{
	{subjects.UserMayInvite.Declaration, just(&callbacksv1.UserMayInviteRequest{}), invites},
	{subjects.CheckEventForSpam.Declaration, events, spamEvents},
	{subjects.IsUserExpired.Declaration, just(&callbacksv1.IsUserExpiredRequest{}), expiries},
	{subjects.CheckRegistrationForSpam.Declaration, just(&callbacksv1.CheckRegistrationForSpamRequest{}), registrations},
	{subjects.CheckEventAllowed.Declaration, just(&callbacksv1.CheckEventAllowedRequest{}), replacements},
	{subjects.OnUserLogin.Declaration, just(&callbacksv1.OnUserLoginRequest{UserId: "@a:x"}), just(&callbacksv1.OnUserLoginResponse{})},
	{subjects.GetUsersForStates.Declaration, just(&callbacksv1.GetUsersForStatesRequest{}), usersForStates},
	{subjects.GetInterestedUsers.Declaration, just(&callbacksv1.GetInterestedUsersRequest{UserId: "@a:x"}), interestedUsers},
	{subjects.AddFieldToUnsignedCallback.Declaration, just(&callbacksv1.AddFieldToUnsignedCallbackRequest{}), unsigned},
	{subjects.OnCreateRoom.Declaration, rooms, roomContents},
	{subjects.OnUpdate.Declaration, just(&callbacksv1.OnUpdateRequest{UpdateName: "a"}), durations},
}

// just draws copies, because two tests that log the same message at once race.
func just(m proto.Message) *rapid.Generator[proto.Message] {
	return rapid.Map(rapid.Just(m), proto.Clone)
}

// named is the generator with its name made up. Rapid does that where the generator is first used in a list, and tests in
// parallel race for it.
func named[V any](g *rapid.Generator[V]) *rapid.Generator[V] {
	_ = g.String()
	return g
}

var (
	users   = named(rapid.SampledFrom([]string{"@a:x", "@b:x", "@c:y", "@d:z"}))
	content = rapid.SampledFrom([]string{`{}`, `{"preset":"private_chat"}`, `{ "name" : "A" }`, `{"name":"B"}`})
	refusal = rapid.Custom(func(t *rapid.T) *callbacksv1.Refusal {
		r := &callbacksv1.Refusal{Errcode: rapid.SampledFrom([]string{"", "M_FORBIDDEN", "ORG_X"}).Draw(t, "errcode")}
		if rapid.Bool().Draw(t, "more") {
			r.Error, r.HttpStatus = rapid.String().Draw(t, "error"), new(rapid.Uint32().Draw(t, "status"))
			r.AdditionalFields = []byte(content.Draw(t, "fields"))
		}
		return r
	})

	invites = rapid.Custom(func(t *rapid.T) proto.Message {
		return &callbacksv1.UserMayInviteResponse{Refusal: refusal.Draw(t, "refusal")}
	})
	events = rapid.Custom(func(t *rapid.T) proto.Message {
		sender := rapid.SampledFrom([]string{"@a:example.com", "@a:x"}).Draw(t, "sender")
		return &callbacksv1.CheckEventForSpamRequest{Event: &callbacksv1.Event{Json: []byte(`{"sender":"` + sender + `"}`)}}
	})
	spamEvents = rapid.Custom(func(t *rapid.T) proto.Message {
		return &callbacksv1.CheckEventForSpamResponse{Refusal: refusal.Draw(t, "refusal")}
	})
	durations = rapid.Custom(func(t *rapid.T) proto.Message {
		return &callbacksv1.OnUpdateResponse{TargetDurationMs: new(rapid.Int64Range(0, 3).Draw(t, "duration"))}
	})
	expiries = rapid.Custom(func(t *rapid.T) proto.Message {
		return &callbacksv1.IsUserExpiredResponse{Expired: new(rapid.Bool().Draw(t, "expired"))}
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
	states = named(rapid.Custom(func(t *rapid.T) *callbacksv1.UserPresenceState {
		return &callbacksv1.UserPresenceState{
			UserId: users.Draw(t, "user"), State: rapid.SampledFrom([]string{"online", "offline"}).Draw(t, "state"),
		}
	}))
	interestedUsers = rapid.Custom(func(t *rapid.T) proto.Message {
		return &callbacksv1.GetInterestedUsersResponse{
			Users:    rapid.SliceOfN(users, 1, 4).Draw(t, "users"),
			AllUsers: rapid.IntRange(0, 4).Draw(t, "all") == 0,
		}
	})
	unsigned = rapid.Custom(func(t *rapid.T) proto.Message {
		a := &callbacksv1.AddFieldToUnsignedCallbackResponse{Unsigned: map[string]*callbacksv1.UnsignedFields{}}
		for _, event := range rapid.SliceOfN(fieldNames, 1, 3).Draw(t, "events") {
			a.Unsigned[event] = &callbacksv1.UnsignedFields{Fields: map[string][]byte{}}
			for _, name := range rapid.SliceOfN(fieldNames, 0, 3).Draw(t, "fields") {
				a.Unsigned[event].Fields[name] = []byte(content.Draw(t, "value"))
			}
		}
		return a
	})
	fieldNames = named(rapid.SampledFrom([]string{"a", "b", "c"}))

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

// Refused returns what a policy to refuse answers to a question of the kind, nil if that cannot be said.
func (k Kind) Refused() proto.Message {
	if !k.Callback.CanRefuse() {
		return nil
	}
	return k.Callback.Refused(&callbacksv1.Refusal{})
}

// Failure draws a failure of a module that instead can refuse with an answer, or with nothing if that is nil.
func Failure(t *rapid.T, instead proto.Message) combine.Outcome {
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
