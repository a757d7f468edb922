// Package combinetest tests code that combines answers. [Interpret] says what the decision must be, slowly and obviously; the kinds
// generate callbacks, answers and failures to compare it on.
package combinetest

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// Verdict is what asking in order comes to.
type Verdict struct {
	combine.Decision

	// Saw is the request that each module which was asked got, in roster order.
	Saw []proto.Message
}

// Interpret asks the modules one after the other. It is the truth about combining: slow and obvious, with each rule
// written out by hand for the messages it is used with.
func Interpret(rule callbacksv1.Rule, modules []combine.Outcome, request proto.Message) Verdict {
	v := Verdict{Decision: combine.Decision{By: combine.Nobody, FailedBy: combine.Nobody}}
	if rule == callbacksv1.Rule_SOLE && len(modules) > 1 {
		modules = modules[:1]
	}
	var said []int // modules with an opinion, as far as answers add up
	for i, module := range modules {
		v.Saw = append(v.Saw, request)
		answer := module.Answer
		if module.Failure != rosterv1.FailureKind_FAILURE_KIND_UNSPECIFIED {
			v.Failures = append(v.Failures, combine.Failure{Module: i, Kind: module.Failure, Policy: module.Policy})
			if module.Policy == callbacksv1.OnFailure_SKIP {
				continue
			}
			return v.failed(i, module)
		}
		if answer == nil || rule == callbacksv1.Rule_NOTIFY {
			continue
		}
		if rule == callbacksv1.Rule_FIRST || rule == callbacksv1.Rule_SOLE {
			v.Answer, v.By = answer, i
			return v
		}
		switch answer := answer.(type) {
		case *callbacksv1.GetUsersForStatesResponse:
			v.Answer = addUsersForStates(v.Answer, answer)
		case *callbacksv1.GetInterestedUsersResponse:
			if answer.GetAllUsers() {
				v.Answer, v.By = answer, i
				return v
			}
			v.Answer = addInterestedUsers(v.Answer, answer)
		case *callbacksv1.AddFieldToUnsignedCallbackResponse:
			v.Answer = addUnsigned(v.Answer, answer)
		case *callbacksv1.OnCreateRoomResponse:
			if answer.GetRefusal() != nil {
				v.Answer, v.By = answer, i
				return v
			}
			changed := proto.CloneOf(request.(*callbacksv1.OnCreateRoomRequest))
			changed.RequestContent = answer.GetRequestContent()
			request, v.Answer = changed, answer
		}
		said = append(said, i)
		v.By = combine.Nobody
		if len(said) == 1 {
			v.By = i
		}
	}
	return v
}

// failed is the verdict when a module failed that may not be passed over.
func (v Verdict) failed(i int, module combine.Outcome) Verdict {
	if module.Policy == callbacksv1.OnFailure_REFUSE {
		v.Answer, v.By = module.Answer, i
		return v
	}
	v.Answer, v.By, v.FailedBy = nil, combine.Nobody, i
	return v
}

func addUsersForStates(so proto.Message, answer *callbacksv1.GetUsersForStatesResponse) proto.Message {
	sum := &callbacksv1.GetUsersForStatesResponse{Users: map[string]*callbacksv1.UserPresenceStates{}}
	if so != nil {
		sum = proto.CloneOf(so.(*callbacksv1.GetUsersForStatesResponse))
	}
	for user, more := range answer.GetUsers() {
		if sum.GetUsers()[user] == nil {
			sum.Users[user] = &callbacksv1.UserPresenceStates{}
		}
		for _, state := range more.GetStates() {
			known := slices.ContainsFunc(sum.Users[user].GetStates(), func(have *callbacksv1.UserPresenceState) bool {
				return proto.Equal(have, state)
			})
			if !known {
				sum.Users[user].States = append(sum.Users[user].States, state)
			}
		}
	}
	return sum
}

func addInterestedUsers(so proto.Message, answer *callbacksv1.GetInterestedUsersResponse) proto.Message {
	sum := &callbacksv1.GetInterestedUsersResponse{}
	if so != nil {
		sum = proto.CloneOf(so.(*callbacksv1.GetInterestedUsersResponse))
	}
	for _, user := range answer.GetUsers() {
		if !slices.Contains(sum.GetUsers(), user) {
			sum.Users = append(sum.Users, user)
		}
	}
	return sum
}

func addUnsigned(so proto.Message, answer *callbacksv1.AddFieldToUnsignedCallbackResponse) proto.Message {
	sum := &callbacksv1.AddFieldToUnsignedCallbackResponse{Unsigned: map[string]*callbacksv1.UnsignedFields{}}
	if so != nil {
		sum = proto.CloneOf(so.(*callbacksv1.AddFieldToUnsignedCallbackResponse))
	}
	for event, more := range answer.GetUnsigned() {
		fields := maps.Clone(sum.GetUnsigned()[event].GetFields())
		if fields == nil {
			fields = map[string][]byte{}
		}
		maps.Copy(fields, more.GetFields())
		sum.Unsigned[event] = &callbacksv1.UnsignedFields{Fields: fields}
	}
	return sum
}
