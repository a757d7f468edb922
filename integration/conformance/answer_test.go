package conformance_test

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

func presence(v any) (*callbacksv1.UserPresenceState, bool) {
	stateEvents := &callbacksv1.UserPresenceState{}
	if tag(v) != "UserPresenceState" {
		return nil, false
	}
	return stateEvents, wire.FromJSON(encoded(untagged(v)), stateEvents, true) == nil
}

// sayUsersForStates is a dict of sets of states. Python's dicts are ordered, which matters only where one is wrong.
func sayUsersForStates(s said) (proto.Message, bool) {
	users, ok := dict(s.value)
	if !ok {
		return nil, false
	}
	answer := &callbacksv1.GetUsersForStatesResponse{Users: map[string]*callbacksv1.UserPresenceStates{}}
	for user, states := range users {
		to := &callbacksv1.UserPresenceStates{}
		if tag(states) != "set" {
			return nil, false
		}
		for _, item := range items(states) {
			stateEvents, ok := presence(item)
			if !ok {
				return nil, false
			}
			to.States = append(to.States, stateEvents)
		}
		answer.Users[user] = to
	}
	return answer, true
}

func hearUsersForStates(_ *vector, answer proto.Message) any {
	a, _ := answer.(*callbacksv1.GetUsersForStatesResponse)
	heard := map[string][]string{}
	for user, states := range a.GetUsers() {
		var all []string
		for _, stateEvents := range states.GetStates() {
			all = append(all, printed(stateEvents))
		}
		heard[user] = sortedSet(all)
	}
	return heard
}

func wantUsersForStates(_ *vector, v any) any {
	want := map[string][]string{}
	for user, states := range object(v) {
		var all []string
		for _, item := range items(states) {
			if stateEvents, ok := presence(item); ok {
				all = append(all, printed(stateEvents))
			} else {
				all = append(all, string(encoded(item)))
			}
		}
		want[user] = sortedSet(all)
	}
	return want
}

func printed(m proto.Message) string {
	raw, err := wire.ToJSON(m)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// everybody is PRESENCE_ALL_USERS.
const everybody = "ALL"

func sayInterestedUsers(s said) (proto.Message, bool) {
	if tag(s.value) == "ALL_USERS" || s.value == everybody {
		return &callbacksv1.GetInterestedUsersResponse{AllUsers: true}, true
	}
	answer := &callbacksv1.GetInterestedUsersResponse{}
	for _, user := range items(s.value) {
		name, ok := user.(string)
		if !ok {
			return nil, false
		}
		answer.Users = append(answer.Users, name)
	}
	return answer, tag(s.value) == "set"
}

func hearInterestedUsers(_ *vector, answer proto.Message) any {
	a, _ := answer.(*callbacksv1.GetInterestedUsersResponse)
	if a.GetAllUsers() {
		return everybody
	}
	return sortedSet(a.GetUsers())
}

func wantInterestedUsers(_ *vector, v any) any {
	if tag(v) == "ALL_USERS" || v == everybody {
		return everybody
	}
	var all []string
	for _, user := range items(v) {
		name, ok := user.(string)
		if !ok {
			name = string(encoded(user))
		}
		all = append(all, name)
	}
	return sortedSet(all)
}

// authenticated is who logs in, and whether a module wants to be told of it.
type authenticated struct {
	User string
	Tell bool
}

// sayAuthenticated is a user and a function to call after the login, or None.
func sayAuthenticated(s said) (proto.Message, bool) {
	if s.value == nil {
		return nil, true
	}
	first, second, _ := tuple(s.value)
	user, ok := first.(string)
	tell := tag(second) == "callable"
	if !ok || !tell && second != nil {
		return nil, false
	}
	token := ""
	if tell {
		token = s.actor
	}
	if s.Name == "auth_checkers" {
		return &callbacksv1.AuthCheckersResponse{UserId: user, TellLogin: tell, Token: token}, true
	}
	return &callbacksv1.Check3PidAuthResponse{UserId: user, TellLogin: tell, Token: token}, true
}

// hearAuthenticated is nil for nobody; what the homeserver then says is [performance.login]'s.
func hearAuthenticated(_ *vector, answer proto.Message) any {
	a, ok := answer.(interface {
		GetUserId() string
		GetTellLogin() bool
	})
	if !ok || a.GetUserId() == "" {
		return nil
	}
	return authenticated{a.GetUserId(), a.GetTellLogin()}
}

func wantAuthenticated(_ *vector, v any) any {
	first, second, _ := tuple(v)
	user, ok := first.(string)
	if !ok {
		return nil
	}
	return authenticated{user, tag(second) == "callable"}
}

func sayName(answer func(*string) proto.Message) func(said) (proto.Message, bool) {
	return func(s said) (proto.Message, bool) {
		name := optional(s.value)
		if name == nil {
			return nil, s.value == nil
		}
		return answer(name), true
	}
}

// hearString is a string that the answer may have.
func hearString(field string) func(*vector, proto.Message) any {
	return func(_ *vector, answer proto.Message) any {
		if answer == nil {
			return nil
		}
		m := answer.ProtoReflect()
		return m.Get(m.Descriptor().Fields().ByTextName(field)).String()
	}
}

func wantSame(_ *vector, v any) any { return v }

func sayDuration(s said) (proto.Message, bool) {
	ms, ok := integer(s.value)
	if !ok {
		return nil, false
	}
	return &callbacksv1.OnUpdateResponse{TargetDurationMs: &ms, Token: s.actor}, true
}

// batches are how many items two batches of a background update have.
type batches struct{ First, Second int64 }

func wantBatches(_ *vector, v any) any {
	first, _ := integer(object(v)["first_batch_size"])
	second, _ := integer(object(v)["second_batch_size"])
	return batches{first, second}
}

func saySize(answer func(int64) proto.Message) func(said) (proto.Message, bool) {
	return func(s said) (proto.Message, bool) {
		n, ok := integer(s.value)
		if !ok {
			return nil, false
		}
		return answer(n), true
	}
}

// hearSize leaves it to the homeserver's configuration.
func hearSize(name string, otherwise int64) func(*vector, proto.Message) any {
	return func(r *vector, answer proto.Message) any {
		if a, ok := answer.(interface{ GetBatchSize() int64 }); ok {
			return a.GetBatchSize()
		}
		if r.Homeserver == nil {
			return nil
		}
		return r.configured(name, otherwise)
	}
}

// configured is a number of the homeserver's configuration.
func (r *vector) configured(name string, otherwise int64) int64 {
	if n, ok := integer(r.Homeserver[name]); ok {
		return n
	}
	return otherwise
}

// wantSize is nil where the record does not tell the configuration that it comes from.
func wantSize(r *vector, v any) any {
	if r.Homeserver == nil && len(r.Called) == 0 {
		return nil
	}
	if n, ok := integer(v); ok {
		return n
	}
	return v
}

// sayUnsigned is what dict.update takes: a dict, pairs, or nothing in one of many spellings.
func sayUnsigned(s said) (proto.Message, bool) {
	fields, ok := dict(s.value)
	if pairs, isList := s.value.([]any); isList {
		fields, ok = dictOf(pairs)
	}
	if !ok {
		return nil, s.value == ""
	}
	added := &callbacksv1.UnsignedFields{Fields: map[string][]byte{}}
	for name, value := range fields {
		added.Fields[name] = encoded(value)
	}
	return &callbacksv1.AddFieldToUnsignedCallbackResponse{
		Unsigned: map[string]*callbacksv1.UnsignedFields{s.vector.eventID(): added},
	}, true
}

func dictOf(pairs []any) (map[string]any, bool) {
	fields := map[string]any{}
	for _, p := range pairs {
		pair, _ := p.([]any)
		if len(pair) != 2 {
			return nil, false
		}
		name, ok := pair[0].(string)
		if !ok {
			return nil, false
		}
		fields[name] = pair[1]
	}
	return fields, true
}

func (r *vector) eventID() string {
	id, _ := object(r.Args["event"])["event_id"].(string)
	return id
}

// hearUnsigned is what modules add that is not the homeserver's own, which always wins.
func hearUnsigned(r *vector, answer proto.Message) any {
	a, _ := answer.(*callbacksv1.AddFieldToUnsignedCallbackResponse)
	heard := map[string]string{}
	for name, value := range a.GetUnsigned()[r.eventID()].GetFields() {
		if !r.own(name) {
			heard[name] = string(encoded(decoded(value)))
		}
	}
	return heard
}

// wantUnsigned looks for it in the event as clients get it, or takes it as it is.
func wantUnsigned(r *vector, v any) any {
	fields := object(v)
	if r.serialised() {
		fields = object(fields["unsigned"])
	}
	want := map[string]string{}
	for name, value := range fields {
		if !r.own(name) {
			want[name] = string(encoded(value))
		}
	}
	return want
}

func (r *vector) serialised() bool { return object(r.Result.Value)["event_id"] != nil }

// own reports whether the homeserver itself has the field in the unsigned section of what it serialises.
func (r *vector) own(field string) bool {
	unsigned := object(object(object(r.Args["event"])["json"])["unsigned"])
	switch field {
	case "age":
		return r.serialised() && unsigned["age_ts"] != nil
	case "membership":
		return r.serialised()
	}
	return r.serialised() && unsigned[field] != nil
}

// sayMediaConfig takes whatever is false for no opinion, as Synapse does.
func sayMediaConfig(s said) (proto.Message, bool) {
	config, ok := dict(s.value)
	switch {
	case !truthy(s.value):
		return nil, true
	case !ok:
		return nil, false
	}
	return &callbacksv1.GetMediaConfigForUserResponse{MediaConfig: encoded(config)}, true
}

func hearMediaConfig(_ *vector, answer proto.Message) any {
	a, _ := answer.(*callbacksv1.GetMediaConfigForUserResponse)
	return string(encoded(decoded(a.GetMediaConfig())))
}

func wantJSON(_ *vector, v any) any { return string(encoded(v)) }

func sayLimits(s said) (proto.Message, bool) {
	if s.value == nil {
		return nil, true
	}
	list, ok := s.value.([]any)
	if !ok {
		return nil, false
	}
	answer := &callbacksv1.GetMediaUploadLimitsForUserResponse{Limits: &callbacksv1.MediaUploadLimits{}}
	for _, item := range list {
		limit := &callbacksv1.MediaUploadLimit{}
		if tag(item) != "MediaUploadLimit" || wire.FromJSON(encoded(untagged(item)), limit, true) != nil {
			return nil, false
		}
		answer.Limits.Limits = append(answer.Limits.Limits, limit)
	}
	return answer, true
}

// hearLimits sorts them as the homeserver does: the longest period first.
func hearLimits(_ *vector, answer proto.Message) any {
	a, ok := answer.(*callbacksv1.GetMediaUploadLimitsForUserResponse)
	if !ok {
		return nil
	}
	limits := slices.Clone(a.GetLimits().GetLimits())
	slices.SortStableFunc(limits, func(a, b *callbacksv1.MediaUploadLimit) int {
		return int(b.GetTimePeriodMs() - a.GetTimePeriodMs())
	})
	return printedLimits(limits)
}

func printedLimits(limits []*callbacksv1.MediaUploadLimit) any {
	heard := []string{}
	for _, limit := range limits {
		heard = append(heard, printed(limit))
	}
	return heard
}

func wantLimits(_ *vector, v any) any {
	answer, _ := sayLimits(said{value: v})
	if answer == nil {
		return nil
	}
	return printedLimits(answer.(*callbacksv1.GetMediaUploadLimitsForUserResponse).GetLimits().GetLimits())
}

func sayOverride(s said) (proto.Message, bool) {
	if !truthy(s.value) {
		return nil, true
	}
	burst, _ := integer(object(s.value)["burst_count"])
	return &callbacksv1.GetRatelimitOverrideForUserResponse{Override: &callbacksv1.RatelimitOverride{
		PerSecond: float(object(s.value)["per_second"]), BurstCount: int32(burst),
	}}, tag(s.value) == "RatelimitOverride"
}

func hearOverride(_ *vector, answer proto.Message) any {
	a, ok := answer.(*callbacksv1.GetRatelimitOverrideForUserResponse)
	if !ok || a.GetOverride() == nil {
		return nil
	}
	return printed(a.GetOverride())
}

func wantOverride(r *vector, v any) any {
	answer, ok := sayOverride(said{value: v})
	switch {
	case !ok:
		return v
	case answer == nil:
		return nil
	}
	return hearOverride(r, answer)
}
