package conformance_test

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// dialect is how one callback's values are said on the wire, and what the homeserver makes of decisions.
//
// A value is said as what Synapse's code takes it for, its truthiness or its identity with False included. What Synapse
// itself complains about (with a warning in its log, an assertion, an exception) and what no field could hold is of a
// wrong type: no reply says it. A module that answers so in another language answers with something that is no reply.
type dialect struct {
	// say returns a reply, nil for no opinion, or false for a value of a wrong type.
	say func(said) (proto.Message, bool)

	// hear returns what the homeserver gets out of an answer, nil for none.
	hear func(r *vector, answer proto.Message) any

	// want returns the same out of what the real one got.
	want func(r *vector, result any) any
}

// said is a module's return value.
type said struct {
	*subjects.Declaration
	vector *vector
	actor  string
	value  any
}

// refuse is a reply that refuses, without a word.
func (s said) refuse() proto.Message { return s.Refused(&callbacksv1.Refusal{}) }

// What the homeserver gets where it is neither a yes or no nor a value of the callback's.
type (
	// raisedError is an error in place of a decision: an exception of the module's, or one over what it returned.
	raisedError struct{}

	// unstarted is a homeserver that does not start because of what a module registers.
	unstarted struct{ Module string }

	// refusedWith is a refusal with what the client is told.
	refusedWith struct {
		Errcode, Text string
		Fields        string // JSON
		Status        int    // 0 where the module has no say in it
	}

	// unauthenticated is what the homeserver itself says when nobody authenticated the login.
	unauthenticated struct {
		Status           int
		Errcode, Message string
	}
)

// dialectOf returns the dialect of the record's callback, in the record's version.
func (r *vector) dialectOf(callback string) dialect {
	if older, ok := olderDialects[callback]; ok && r.Synapse == "1.42.0" {
		return older
	}
	return dialects[callback]
}

var dialects = map[string]dialect{
	"check_event_for_spam":        codes(polarity{spam: true, bools: true}, withTexts),
	"user_may_join_room":          codes(polarity{bools: true}),
	"user_may_invite":             codes(polarity{bools: true}),
	"federated_user_may_invite":   codes(polarity{bools: true}),
	"user_may_send_3pid_invite":   codes(polarity{bools: true}),
	"user_may_create_room":        codes(polarity{bools: true}),
	"user_may_create_room_alias":  codes(polarity{bools: true}),
	"user_may_publish_room":       codes(polarity{bools: true}),
	"user_may_send_state_event":   codes(polarity{}, withoutFields),
	"check_media_file_for_spam":   codes(polarity{spam: true, bools: true}),
	"check_login_for_spam":        codes(polarity{}),
	"should_drop_federated_event": vetoTrue,
	"check_username_for_spam":     vetoTrue,
	"check_registration_for_spam": {sayBehaviour, hearBehaviour, wantBehaviour},

	"is_user_expired":      {sayExpired, hearExpired, func(_ *vector, v any) any { return truthy(v) }},
	"on_user_registration": notify,
	"on_user_login":        notify,

	"check_event_allowed":                   {sayAllowed, hearAllowed, wantAllowed},
	"on_create_room":                        {sayNothing, hearContent, wantContent},
	"check_threepid_can_be_invited":         vetoFalse,
	"check_visibility_can_be_modified":      vetoFalse,
	"check_can_shutdown_room":               vetoFalse,
	"check_can_deactivate_user":             vetoFalse,
	"on_new_event":                          notify,
	"on_profile_update":                     notify,
	"on_user_deactivation_status_changed":   notify,
	"on_threepid_bind":                      notify,
	"on_add_user_third_party_identifier":    notify,
	"on_remove_user_third_party_identifier": notify,

	"get_users_for_states": {sayUsersForStates, hearUsersForStates, wantUsersForStates},
	"get_interested_users": {sayInterestedUsers, hearInterestedUsers, wantInterestedUsers},

	"auth_checkers":   {sayAuthenticated, hearAuthenticated, wantAuthenticated},
	"check_3pid_auth": {sayAuthenticated, hearAuthenticated, wantAuthenticated},
	"on_logged_out":   notify,
	"get_username_for_registration": {
		sayName(func(name *string) proto.Message {
			return &callbacksv1.GetUsernameForRegistrationResponse{Username: name}
		}),
		hearString("username"), wantSame,
	},
	"get_displayname_for_registration": {
		sayName(func(name *string) proto.Message {
			return &callbacksv1.GetDisplaynameForRegistrationResponse{Displayname: name}
		}),
		hearString("displayname"), wantSame,
	},
	"is_3pid_allowed": {sayBool, vetoFalse.hear, vetoFalse.want},

	"on_update": {sayDuration, nil, wantBatches}, // See [performance.update], which hears it.
	"default_batch_size": {
		saySize(func(n int64) proto.Message { return &callbacksv1.DefaultBatchSizeResponse{BatchSize: &n} }),
		hearSize("default_batch_size", 100), wantSize,
	},
	"min_batch_size": {
		saySize(func(n int64) proto.Message { return &callbacksv1.MinBatchSizeResponse{BatchSize: &n} }),
		hearSize("min_batch_size", 1), wantSize,
	},

	"on_account_data_updated":        notify,
	"add_field_to_unsigned_callback": {sayUnsigned, hearUnsigned, wantUnsigned},

	"get_media_config_for_user":               {sayMediaConfig, hearMediaConfig, wantJSON},
	"is_user_allowed_to_upload_media_of_size": {sayTruthy, vetoFalse.hear, func(_ *vector, v any) any { return truthy(v) }},
	"get_media_upload_limits_for_user":        {sayLimits, hearLimits, wantLimits},
	"on_media_upload_limit_exceeded":          notify,
	"get_ratelimit_override_for_user":         {sayOverride, hearOverride, wantOverride},
	"on_event_delivered_over_federation":      notify,
}

// olderDialects are those of 1.42.0, in which the spam checker knew only bools, and one string.
var olderDialects = map[string]dialect{
	"check_event_for_spam":       {sayTruthyText, hearRefused, wantTruthyText},
	"user_may_invite":            vetoFalse,
	"user_may_create_room":       vetoFalse,
	"user_may_create_room_alias": vetoFalse,
	"user_may_publish_room":      vetoFalse,
	"check_media_file_for_spam":  vetoTrue,
}

// fakeReply is how a fake module answers.
type fakeReply struct {
	answer  proto.Message // nil for no opinion
	failure *wire.Failure // in place of an answer
	noReply bool          // something that is no reply
}

// replyOf says what the module does, given the request.
func (r *vector) replyOf(s cue, d *subjects.Declaration, request proto.Message) fakeReply {
	o := r.outcomeOf(s)
	switch {
	case o == nil: // What follows up on an answer, or is registered for the sake of a pair.
		return fakeReply{}
	case o.Kind == "raise":
		return o.raised(d)
	case o.mutates() && d.Name == "on_create_room":
		content := request.(*callbacksv1.OnCreateRoomRequest).GetRequestContent()
		changed := encoded(o.changed(object(decoded(content))))
		return fakeReply{answer: &callbacksv1.OnCreateRoomResponse{RequestContent: changed}}
	}
	answer, ok := r.dialectOf(d.Name).say(said{d, r, s.actor, o.Value})
	return fakeReply{answer: answer, noReply: !ok}
}

// sayable reports whether a reply can say what the module returns.
func (r *vector) sayable(s cue) bool {
	d, _ := subjects.Find(s.callback)
	o := r.outcomeOf(s)
	if o == nil || o.Kind != "return" {
		return true
	}
	_, ok := r.dialectOf(s.callback).say(said{d, r, s.actor, o.Value})
	return ok
}

// raised is the module's failure, or its refusal where Synapse passes the module's own error on to the client by design.
func (o *act) raised(d *subjects.Declaration) fakeReply {
	if !refusesByError(d.Name) || o.Code == 0 {
		return fakeReply{failure: &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: o.Error + ": " + o.Message}}
	}
	status := uint32(o.Code)
	r := &callbacksv1.Refusal{Errcode: o.Errcode, Error: o.Message, HttpStatus: &status}
	if o.AdditionalFields != nil {
		r.AdditionalFields = encoded(o.AdditionalFields)
	}
	return fakeReply{answer: d.Refused(r)}
}

func refusesByError(callback string) bool {
	return callback == "on_create_room" || callback == "check_event_allowed"
}

// wanted is what the homeserver got.
func (r *vector) wanted() any {
	switch o := r.Result; {
	case o.Kind != "raise":
		return r.dialectOf(r.Callback).want(r, o.Value)
	case o.At == "registration":
		return unstarted{o.Module}
	case o.Code != 0 && refusesByError(r.Callback):
		fields := "{}"
		if o.AdditionalFields != nil {
			fields = string(encoded(o.AdditionalFields))
		}
		return refusedWith{o.Errcode, o.Message, fields, o.Code}
	case o.Code != 0 && r.Callback == "auth_checkers":
		return unauthenticated{o.Code, o.Errcode, o.Message}
	}
	return raisedError{}
}

// heard is what the homeserver gets out of a decision.
func (r *vector) heard(callback string, d bus.Decision[proto.Message], err error) any {
	var e *bus.Error
	switch {
	case errors.As(err, &e):
		return raisedError{}
	case err != nil:
		return err.Error()
	}
	return r.dialectOf(callback).hear(r, d.Answer)
}
