package conformance_test

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// notify is told, and what it returns is ignored. Some homeserver methods return something of their own.
var notify = dialect{sayNothing, func(*vector, proto.Message) any { return nil }, func(*vector, any) any { return nil }}

func sayNothing(said) (proto.Message, bool) { return nil, true }

// vetoTrue refuses what is true in Python's sense.
var vetoTrue = dialect{
	func(s said) (proto.Message, bool) {
		if truthy(s.value) {
			return s.refuse(), true
		}
		return nil, true
	},
	func(_ *vector, answer proto.Message) any { return refusal(answer) != nil },
	func(_ *vector, v any) any { return truthy(v) },
}

// vetoFalse refuses with nothing but False itself.
var vetoFalse = dialect{
	func(s said) (proto.Message, bool) {
		if s.value == false {
			return s.refuse(), true
		}
		return nil, true
	},
	func(_ *vector, answer proto.Message) any { return refusal(answer) == nil },
	func(_ *vector, v any) any { return v != false },
}

// sayBool is that of vetoFalse where Synapse complains of everything but a bool.
func sayBool(s said) (proto.Message, bool) {
	if _, ok := s.value.(bool); !ok {
		return nil, false
	}
	return vetoFalse.say(s)
}

// sayTruthy refuses with everything that is not true in Python's sense, None included.
func sayTruthy(s said) (proto.Message, bool) {
	if !truthy(s.value) {
		return s.refuse(), true
	}
	return nil, true
}

func refusal(answer proto.Message) *callbacksv1.Refusal {
	a, ok := answer.(interface{ GetRefusal() *callbacksv1.Refusal })
	if !ok {
		return nil
	}
	return a.GetRefusal()
}

// hearRefused is a refusal with its words.
func hearRefused(_ *vector, answer proto.Message) any {
	r := refusal(answer)
	if r == nil {
		return nil
	}
	heard := refusedWith{r.GetErrcode(), r.GetError(), "{}", int(r.GetHttpStatus())}
	if len(r.GetAdditionalFields()) > 0 {
		heard.Fields = string(encoded(decoded(r.GetAdditionalFields())))
	}
	return heard
}

// polarity is what bools mean, if anything.
type polarity struct{ bools, spam bool }

// emptyText is one that the client sees, where no text is the homeserver's own.
const emptyText = "(empty)"

type codesOption int

const (
	withTexts     codesOption = iota // a string is the text of a refusal
	withoutFields                    // further fields make a refusal one without any, of M_FORBIDDEN
)

// codes are verdicts: NOT_SPAM, or a code, maybe with further fields.
func codes(p polarity, options ...codesOption) dialect {
	return dialect{
		func(s said) (proto.Message, bool) {
			b, isBool := s.value.(bool)
			text, isText := s.value.(string)
			r, isCode := sayCode(s.value)
			switch {
			case notSpam(s.value):
				return nil, true
			case isBool && p.bools && b == p.spam:
				return s.refuse(), true
			case isBool:
				return nil, p.bools
			case isText && slices.Contains(options, withTexts):
				return s.Refused(&callbacksv1.Refusal{Errcode: "M_FORBIDDEN", Error: text}), true
			case isCode:
				return s.Refused(r), true
			}
			return nil, false
		},
		func(r *vector, answer proto.Message) any {
			heard := hearRefused(r, answer)
			if slices.Contains(options, withoutFields) && len(refusal(answer).GetAdditionalFields()) > 0 {
				return refusedWith{Errcode: "M_FORBIDDEN", Fields: "{}"}
			}
			return heard
		},
		func(_ *vector, v any) any {
			if text, ok := v.(string); ok {
				return refusedWith{Errcode: "M_FORBIDDEN", Text: cmp.Or(text, emptyText), Fields: "{}"}
			}
			r, ok := sayCode(v)
			switch {
			case !ok:
				return nil
			case len(r.AdditionalFields) == 0:
				return refusedWith{Errcode: r.Errcode, Fields: "{}"}
			}
			return refusedWith{Errcode: r.Errcode, Fields: string(r.AdditionalFields)}
		},
	}
}

// sayCode is the refusal that a code stands for, or a tuple of a code and further fields.
func sayCode(v any) (*callbacksv1.Refusal, bool) {
	if c, ok := codeOf(v); ok {
		return &callbacksv1.Refusal{Errcode: c}, true
	}
	first, second, _ := tuple(v)
	c, isCode := codeOf(first)
	fields, isDict := dict(second)
	if !isCode || !isDict {
		return nil, false
	}
	return &callbacksv1.Refusal{Errcode: c, AdditionalFields: encoded(fields)}, true
}

// sayTruthyText refuses with what is true in Python's sense; a string is the text.
func sayTruthyText(s said) (proto.Message, bool) {
	text, _ := s.value.(string)
	if !truthy(s.value) {
		return nil, true
	}
	return s.Refused(&callbacksv1.Refusal{Error: text}), true
}

func wantTruthyText(_ *vector, v any) any {
	text, _ := v.(string)
	if !truthy(v) {
		return nil
	}
	return refusedWith{Errcode: "M_FORBIDDEN", Text: text, Fields: "{}"}
}

func sayBehaviour(s said) (proto.Message, bool) {
	if tag(s.value) != "RegistrationBehaviour" {
		return nil, false
	}
	switch object(s.value)["value"] {
	case "deny":
		return s.refuse(), true
	case "shadow_ban":
		return &callbacksv1.CheckRegistrationForSpamResponse{ShadowBan: true}, true
	}
	return nil, true
}

func hearBehaviour(_ *vector, answer proto.Message) any {
	a, _ := answer.(*callbacksv1.CheckRegistrationForSpamResponse)
	switch {
	case a.GetRefusal() != nil:
		return "deny"
	case a.GetShadowBan():
		return "shadow_ban"
	}
	return "allow"
}

func wantBehaviour(_ *vector, v any) any { return object(v)["value"] }

// sayExpired says what is not None by its truthiness, by which the homeserver goes.
func sayExpired(s said) (proto.Message, bool) {
	if s.value == nil {
		return nil, true
	}
	expired := truthy(s.value)
	return &callbacksv1.IsUserExpiredResponse{Expired: &expired}, true
}

// hearExpired leaves it to the homeserver's own account validity, if that is on.
func hearExpired(r *vector, answer proto.Message) any {
	if a, ok := answer.(*callbacksv1.IsUserExpiredResponse); ok && a.Expired != nil {
		return a.GetExpired()
	}
	return r.Homeserver["account_validity_enabled"] == true && r.Homeserver["store_says_expired"] == true
}

// sayAllowed is a pair of False to refuse and anything else not to, and of a replacement or anything else for none.
func sayAllowed(s said) (proto.Message, bool) {
	pair, isList := s.value.([]any)
	if !isList && tag(s.value) == "tuple" {
		pair = items(s.value)
	}
	if len(pair) != 2 {
		return nil, false
	}
	if pair[0] == false {
		return s.refuse(), true
	}
	if replacement, ok := dict(pair[1]); ok {
		return &callbacksv1.CheckEventAllowedResponse{Replacement: encoded(replacement)}, true
	}
	return nil, true
}

// allowed is what the homeserver gets when an event is not refused with an error of its own.
type allowed struct {
	Allowed     bool
	Replacement string // JSON; empty for none
}

func hearAllowed(r *vector, answer proto.Message) any {
	a, _ := answer.(*callbacksv1.CheckEventAllowedResponse)
	switch {
	case a.GetRefusal().GetHttpStatus() != 0: // It is somebody's error.
		return hearRefused(r, a)
	case a.GetRefusal() != nil:
		return allowed{}
	case a.GetReplacement() != nil:
		return allowed{true, string(encoded(decoded(a.GetReplacement())))}
	}
	return allowed{Allowed: true}
}

func wantAllowed(_ *vector, v any) any {
	first, second, _ := tuple(v)
	got := allowed{Allowed: first == true}
	if second != nil {
		got.Replacement = string(encoded(second))
	}
	return got
}

// hearContent is the createRoom request, as the modules left it.
func hearContent(r *vector, answer proto.Message) any {
	a, _ := answer.(*callbacksv1.OnCreateRoomResponse)
	switch {
	case a.GetRefusal() != nil:
		return hearRefused(r, a)
	case a.GetRequestContent() != nil:
		return string(encoded(decoded(a.GetRequestContent())))
	}
	return string(encoded(r.Args["request_content"]))
}

func wantContent(r *vector, _ any) any {
	if r.Result.RequestContent != nil {
		return string(encoded(r.Result.RequestContent))
	}
	return string(encoded(r.After["request_content"]))
}

// changed is the createRoom request as the module leaves it.
func (o *act) changed(content map[string]any) map[string]any {
	next := overlaid(content, nil)
	switch {
	case o.Mutate != nil:
		next = overlaid(content, o.Mutate.Set)
		for _, name := range o.Mutate.Unset {
			delete(next, name)
		}
	case o.What == "set":
		next[o.Key] = o.Value
	case o.What == "append":
		list, _ := next[o.Key].([]any)
		next[o.Key] = append(slices.Clone(list), o.Value)
	case o.What == "delete":
		delete(next, o.Key)
	}
	return next
}
