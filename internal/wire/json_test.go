package wire_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestJSONMapping(t *testing.T) {
	t.Parallel()
	const event = `{"b":1.50,"a":"<\u00e4>", "b" : {}}` // not how any encoder writes it
	tests := map[string]struct {
		message proto.Message
		json    string
	}{
		"nothing": {&callbacksv1.OnUserRegistrationResponse{}, `{}`},
		"names are the schema's, and defaults are said": {
			&callbacksv1.UserMayInviteRequest{Inviter: "@a:x"},
			`{"inviter":"@a:x","invitee":"","room_id":""}`,
		},
		"optional fields are there when they are set": {
			&callbacksv1.IsUserExpiredResponse{Expired: new(false)}, `{"expired":false}`,
		},
		"optional fields are absent when they are not": {&callbacksv1.IsUserExpiredResponse{}, `{}`},
		"messages are absent when they are not set":    {&callbacksv1.UserMayInviteResponse{}, `{}`},
		"an empty refusal is a refusal": {
			&callbacksv1.UserMayInviteResponse{Refusal: &callbacksv1.Refusal{}},
			`{"refusal":{"errcode":"","error":"","additional_fields":{}}}`,
		},
		"raw JSON is nested, byte for byte": {
			&callbacksv1.CheckEventForSpamRequest{Event: &callbacksv1.Event{EventId: "$e", RoomVersion: "11", Json: []byte(event), RoomId: "!r"}},
			`{"event":{"event_id":"$e","room_version":"11","json":` + event + `,"room_id":"!r"}}`,
		},
		"raw JSON is nested in lists, too": {
			note("list", event), `{"list":[{"raw":` + event + `}],"by_name":{},"raw_list":[],"raw_by_name":{}}`,
		},
		"raw JSON is nested in maps, too": {
			note("by_name", event), `{"list":[],"by_name":{"` + secret + `":{"raw":` + event + `}},"raw_list":[],"raw_by_name":{}}`,
		},
		"raw JSON is nested in lists of it": {
			note("raw_list", event), `{"list":[],"by_name":{},"raw_list":[` + event + `],"raw_by_name":{}}`,
		},
		"raw JSON is nested in maps of it": {
			note("raw_by_name", event), `{"list":[],"by_name":{},"raw_list":[],"raw_by_name":{"` + secret + `":` + event + `}}`,
		},
		"no raw JSON is an empty object in lists, too": {
			note("raw_list", ""), `{"list":[],"by_name":{},"raw_list":[{}],"raw_by_name":{}}`,
		},
		"no raw JSON is an empty object": {
			&callbacksv1.UserMayCreateRoomRequest{UserId: "@a:x"}, `{"user_id":"@a:x","room_config":{}}`,
		},
		"no raw JSON is absent where that is silence": {
			&callbacksv1.CheckEventAllowedResponse{}, `{}`,
		},
		"an empty object is an opinion where it may be one": {
			&callbacksv1.OnCreateRoomResponse{RequestContent: []byte(`{}`)}, `{"request_content":{}}`,
		},
		"maps are objects": {
			&callbacksv1.GetUsersForStatesResponse{Users: map[string]*callbacksv1.UserPresenceStates{"@a:<x>": {}}},
			`{"users":{"@a:\u003cx\u003e":{"states":[]}}}`,
		},
		"64 bits are strings, and enums names": {
			&rosterv1.Decision{RosterRevision: 1 << 60, Failures: []*rosterv1.Failure{{Failure: rosterv1.FailureKind_BUSY}}},
			`{"failures":[{"module":"","failure":"BUSY","policy":"ON_FAILURE_UNSPECIFIED"}],"roster_revision":"1152921504606846976"}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := wire.ToJSON(tt.message)
			if err != nil {
				t.Fatal(err)
			}
			// Only messages without raw JSON need a normal form to be compared in: protojson orders them as declared.
			if !strings.Contains(tt.json, event) && !sameJSON(got, []byte(tt.json)) || strings.Contains(tt.json, event) && string(got) != tt.json {
				t.Errorf("got  %s\nwant %s", got, tt.json)
			}
			back := tt.message.ProtoReflect().New().Interface()
			if err := wire.FromJSON(got, back, true); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.message, back, protocmp.Transform()); diff != "" {
				t.Errorf("it came back as something else:\n%s", diff)
			}
		})
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && cmp.Equal(x, y)
}

func TestFromJSON(t *testing.T) {
	t.Parallel()
	config := func(s string) proto.Message {
		return &callbacksv1.UserMayCreateRoomRequest{UserId: "@a:x", RoomConfig: []byte(s)}
	}
	tests := map[string]struct {
		json string
		want proto.Message
	}{
		"the schema's names":           {`{"user_id":"@a:x"}`, config("")},
		"protobuf's other names":       {`{"userId":"@a:x","roomConfig":{"a":1}}`, config(`{"a":1}`)},
		"space around everything":      {"\n { \"user_id\" : \"@a:x\" ,\t\"room_config\" : { \"a\" : 1 } } ", config(`{ "a" : 1 }`)},
		"null is not set":              {`{"user_id":"@a:x","room_config":null}`, config("")},
		"an empty object is nothing":   {`{"user_id":"@a:x","room_config":{ }}`, config("")},
		"keys twice in raw JSON":       {`{"user_id":"@a:x","room_config":{"a":1,"a":2}}`, config(`{"a":1,"a":2}`)},
		"keys with escapes":            {`{"user\u005fid":"@a:x"}`, config("")},
		"large numbers in raw JSON":    {`{"user_id":"@a:x","room_config":{"a":1e999,"b":12345678901234567890}}`, config(`{"a":1e999,"b":12345678901234567890}`)},
		"half a character in raw JSON": {"{\"user_id\":\"@a:x\",\"room_config\":{\"a\":\"\xff\\ud800\"}}", config("{\"a\":\"\xff\\ud800\"}")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tt.want.ProtoReflect().New().Interface()
			if err := wire.FromJSON([]byte(tt.json), got, true); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsOfJSONNameTheField(t *testing.T) {
	t.Parallel()
	event := func() proto.Message { return &callbacksv1.CheckEventAllowedRequest{} }
	users := func() proto.Message { return &callbacksv1.GetUsersForStatesResponse{} }
	tests := map[string]struct {
		message proto.Message
		json    string
		want    string
	}{
		"nothing":              {event(), ``, "not a JSON object"},
		"space":                {event(), " \n", "not a JSON object"},
		"half of it":           {event(), `{"event":`, "not a JSON object"},
		"two":                  {event(), `{} {}`, "not a JSON object"},
		"a list":               {event(), `[]`, "not a JSON object"},
		"null":                 {event(), `null`, "not a JSON object"},
		"an unknown field":     {event(), `{"evnt":{}}`, `unknown field "evnt"`},
		"a field twice":        {event(), `{"event":{},"event":{}}`, `duplicate field "event"`},
		"a field in two names": {event(), `{"state_events":[],"stateEvents":[]}`, `duplicate field "stateEvents"`},
		"text for a message":   {event(), `{"event":"$e"}`, "field event: must be an object"},
		"an object for a list": {event(), `{"state_events":{}}`, "field state_events: must be a list"},
		"null in a list":       {event(), `{"state_events":[{},null]}`, "field state_events[1]: must be an object"},
		"text for raw JSON":    {event(), `{"event":{"json":"{}"}}`, "field event.json: must be a JSON object"},
		"a list for raw JSON":  {newNotes(), `{"list":[{},{"raw":[]}]}`, "field list[1].raw: must be a JSON object"},
		"a list for a map":     {users(), `{"users":[]}`, "field users: must be an object"},
		"text in a map":        {users(), `{"users":{"@a:x":""}}`, "field users[*]: must be an object"},
		"deep in a map":        {users(), `{"users":{"@a:x":{"states":[{"last_active_ts":true}]}}}`, "field last_active_ts: must be of type int64"},
		"a number for text":    {event(), `{"event":{"event_id":1}}`, "field event_id: must be of type string"},
		"an object for text":   {event(), `{"event":{"event_id":{}}}`, "field event_id: must be of type string"},
		"half a character":     {event(), "{\"event\":{\"event_id\":\"\xff\"}}", "a value has the wrong type"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := wire.FromJSON([]byte(tt.json), tt.message, true)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if errors.Is(err, wire.ErrNotJSON) != (tt.want == wire.ErrNotJSON.Error()) {
				t.Errorf("%v is, or is not, ErrNotJSON", err)
			}
		})
	}
}

func TestUnknownFieldsAreSkippedUnlessStrict(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		`{"user":"@a:x","since":{"next":[1]}}`, `{"user":"@a:x","[an.extension]":1}`, `{"user":"@a:x","":null}`, `{"user":"@a:x","@type":"x"}`,
	} {
		m := &callbacksv1.IsUserExpiredRequest{}
		if err := wire.FromJSON([]byte(data), m, true); err == nil {
			t.Errorf("strict: %s was taken", data)
		}
		if err := wire.FromJSON([]byte(data), m, false); err != nil || m.GetUser() != "@a:x" {
			t.Errorf("lenient: %s: %v, %v", data, m, err)
		}
	}
}

func TestEmptyReplyIsSilenceInTheJSONMappingToo(t *testing.T) {
	t.Parallel()
	for _, d := range subjects.All() {
		data, err := wire.ToJSON(d.NewReply())
		if err != nil {
			t.Fatal(err)
		}
		reply := d.NewReply()
		if err := wire.FromJSON(data, reply, true); err != nil || !proto.Equal(reply, d.NewReply()) {
			t.Errorf("%s: %s became %v, %v", d.FullName(), data, reply, err)
		}
	}
}

func TestRawJSONThatIsNoneIsNotSent(t *testing.T) {
	t.Parallel()
	data, err := wire.ToJSON(&callbacksv1.CheckEventForSpamRequest{Event: &callbacksv1.Event{Json: []byte(secret)}})
	if err == nil || err.Error() != "field event.json: must be a JSON object" {
		t.Errorf("%s, %v", data, err)
	}
}

func TestFromProtobuf(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		message proto.Message
		want    string
	}{
		"nothing":          {&callbacksv1.CheckEventAllowedResponse{}, ""},
		"a typed nil":      {(*callbacksv1.CheckEventAllowedResponse)(nil), ""},
		"an object":        {&callbacksv1.CheckEventAllowedResponse{Replacement: []byte(" {} ")}, ""},
		"text":             {&callbacksv1.CheckEventAllowedResponse{Replacement: []byte(`""`)}, "field replacement: must be a JSON object"},
		"set, and nothing": {&callbacksv1.CheckEventAllowedResponse{Replacement: []byte{}}, "field replacement: must be a JSON object"},
		"half an object":   {&callbacksv1.CheckEventAllowedResponse{Replacement: []byte(`{`)}, "field replacement: must be a JSON object"},
		"two objects":      {&callbacksv1.CheckEventAllowedResponse{Replacement: []byte(`{}{}`)}, "field replacement: must be a JSON object"},
		"in a message":     {&callbacksv1.UserMayInviteResponse{Refusal: &callbacksv1.Refusal{AdditionalFields: []byte("1")}}, "field refusal.additional_fields: must be a JSON object"},
		"in a list":        {note("list", "x"), "field list[0].raw: must be a JSON object"},
		"in a map":         {note("by_name", "x"), "field by_name[*].raw: must be a JSON object"},
		"a list of them":   {note("raw_list", "x"), "field raw_list[0]: must be a JSON object"},
		"a map of them":    {note("raw_by_name", "x"), "field raw_by_name[*]: must be JSON"},
		"in a map in a map": {&callbacksv1.AddFieldToUnsignedCallbackResponse{Unsigned: map[string]*callbacksv1.UnsignedFields{
			secret: {Fields: map[string][]byte{secret: []byte("x")}},
		}}, "field unsigned[*].fields[*]: must be JSON"},
		"behind others in a list": {&callbacksv1.CheckEventAllowedRequest{
			Event:       &callbacksv1.Event{Json: []byte("{}")},
			StateEvents: []*callbacksv1.StateEvent{{Event: &callbacksv1.Event{Json: []byte("{}")}}, {}, {Event: &callbacksv1.Event{Json: []byte("[]")}}},
		}, "field state_events[2].event.json: must be a JSON object"},
		"nothing in a list":   {note("raw_list", ""), ""},
		"bytes of their own":  {&rosterv1.Decision{Answer: []byte("x")}, ""},
		"where there is none": {&callbacksv1.GetInterestedUsersResponse{Users: []string{"x"}}, ""},
	}
	for name, tt := range tests {
		if err := throughProtobuf(tt.message); tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// throughProtobuf reads what m is in protobuf.
func throughProtobuf(m proto.Message) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return wire.FromProtobuf(data, m.ProtoReflect().New().Interface())
}

// What is looked at are bytes. Whatever is spoilt in the message must be seen in them.
func TestRawJSONIsSeenWhereverItIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(messages()).Draw(t, "message")
		fill(t, m.ProtoReflect(), 3)
		spoilt := spoil(t, m.ProtoReflect())
		if err := throughProtobuf(m); (err != nil) != spoilt {
			t.Fatalf("%v: got %v", m, err)
		}
	})
}

// spoil spoils some of the raw JSON in a message, and reports whether there was any.
func spoil(t *rapid.T, m protoreflect.Message) (spoilt bool) {
	one := func(f protoreflect.FieldDescriptor, raw bool, v protoreflect.Value) {
		switch {
		case f.Message() != nil:
			spoilt = spoil(t, v.Message()) || spoilt
		case raw && rapid.IntRange(0, 5).Draw(t, "spoil") == 0:
			v.Bytes()[0], spoilt = 'x', true
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		raw := f.Kind() == protoreflect.BytesKind || f.IsMap() && f.MapValue().Kind() == protoreflect.BytesKind
		raw = raw && proto.GetExtension(f.Options(), callbacksv1.E_RawJson).(bool)
		switch {
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { one(f.MapValue(), raw, v); return true })
		case f.IsList():
			for i := range v.List().Len() {
				one(f, raw, v.List().Get(i))
			}
		default:
			one(f, raw, v)
		}
		return true
	})
	return spoilt
}

// secret is a value that must not be repeated: as text, as a number, and as what text becomes in a snake case.
const secret = "531747"

// badly draws a value that is wrong, or right, for any field, and holds the secret.
var badly = rapid.Custom(func(t *rapid.T) string {
	return fmt.Sprintf(rapid.SampledFrom([]string{
		`"%s"`, `%s`, `-%s.5e7`, `["%s"]`, `[%s]`, `[[%s]]`, `[{"@type":"%s"}]`, `{"user_id":%s}`, `{"json":"%s"}`, `{"event":"%s"}`,
		`{"states":"%s"}`, `"\u0000 %s"`, `"{\"a\":%s}"`, `"unknown field \"%s\""`, `"proto: (line 1:1): duplicate field \"%s\""`,
		`"invalid value for string field %s:"`, "\"\xff%s\"",
	}).Draw(t, "value"), secret)
})

func TestErrorsOfJSONNeverRepeatAValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(messages()).Draw(t, "message")
		data := object(t, m.ProtoReflect().Descriptor(), 2)
		strict := rapid.Bool().Draw(t, "strict")
		if err := wire.FromJSON([]byte(data), m, strict); err != nil && strings.Contains(err.Error(), secret) {
			t.Fatalf("%s: %v", data, err)
		}
		if _, err := wire.ToJSON(m); err != nil && strings.Contains(err.Error(), secret) {
			t.Fatalf("%v: %v", m, err)
		}
		if err := throughProtobuf(m); err != nil && strings.Contains(err.Error(), secret) {
			t.Fatalf("%v: %v", m, err)
		}
	})
}

// object draws the JSON of a message with mistakes in it. The keys of maps are secret, too.
func object(t *rapid.T, md protoreflect.MessageDescriptor, depth int) string {
	var members []string
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		if rapid.Bool().Draw(t, "absent") {
			continue
		}
		value := badly.Draw(t, "value")
		if f.Message() != nil && depth > 0 && rapid.Bool().Draw(t, "deep") {
			switch {
			case f.IsMap():
				value = fmt.Sprintf(`{"%s":%s}`, secret, badly.Draw(t, "entry"))
			case f.IsList():
				value = "[" + object(t, f.Message(), depth-1) + "]"
			default:
				value = object(t, f.Message(), depth-1)
			}
		}
		members = append(members, fmt.Sprintf(`"%s":%s`, f.Name(), value))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// messages returns an empty one of each type that travels.
func messages() []proto.Message {
	all := []proto.Message{newNotes(), &rosterv1.Entry{}, &rosterv1.Join{}, &rosterv1.Roster{}, &rosterv1.Decision{}}
	for _, d := range subjects.All() {
		all = append(all, d.NewRequest(), d.NewReply())
	}
	return all
}

func TestMessageComesBackAsItWas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(messages()).Draw(t, "message")
		fill(t, m.ProtoReflect(), 3)
		data, err := wire.ToJSON(m)
		if err != nil {
			t.Fatal(err)
		}
		back := m.ProtoReflect().New().Interface()
		if err := wire.FromJSON(data, back, true); err != nil || !proto.Equal(m, back) {
			t.Fatalf("%s\n%v\n%v, %v", data, m, back, err)
		}
		if err := throughProtobuf(back); err != nil {
			t.Fatal(err)
		}
	})
}

// fill draws values for the fields of m.
func fill(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if depth == 0 || rapid.IntRange(0, 2).Draw(t, "absent") == 0 {
			continue
		}
		switch {
		case f.IsMap():
			key := protoreflect.ValueOfString(rapid.String().Draw(t, "key")).MapKey()
			m.Mutable(f).Map().Set(key, value(t, f.MapValue(), m.Mutable(f).Map().NewValue(), depth))
		case f.IsList():
			for range rapid.IntRange(1, 2).Draw(t, "elements") {
				m.Mutable(f).List().Append(value(t, f, m.Mutable(f).List().NewElement(), depth))
			}
		default:
			m.Set(f, value(t, f, m.NewField(f), depth))
		}
	}
}

func value(t *rapid.T, f protoreflect.FieldDescriptor, empty protoreflect.Value, depth int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.MessageKind:
		fill(t, empty.Message(), depth-1)
		return empty
	case protoreflect.BytesKind:
		// Raw JSON or not, this is either.
		raw := rapid.SampledFrom([]string{`{"a": [1.0, "ä<"]}`, `{ "a":{}}`, `{"":null}`})
		return protoreflect.ValueOfBytes([]byte(raw.Draw(t, "raw")))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.String().Draw(t, "text"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.Int32Range(0, 9).Draw(t, "enum")))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "int64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(rapid.Float64().Draw(t, "double"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
	}
	t.Fatalf("a field of kind %v: say here how to draw one", f.Kind())
	return protoreflect.Value{}
}

func FuzzFromProtobuf(f *testing.F) {
	for i, data := range []string{"", "\n\x02{}", "\x0b\x0c", "\n\x00\n\x06\n\x01a\x12\x01x", "\x1a\x021", "\xff\xff"} {
		f.Add(i, []byte(data))
	}
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		all := messages()
		m := all[uint(which)%uint(len(all))]
		if err := wire.FromProtobuf(data, m); err != nil {
			return
		}
		if _, err := wire.ToJSON(m); err != nil && strings.Contains(err.Error(), "JSON") {
			t.Fatalf("%q: what is no raw JSON was let through: %v", data, err)
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	for i, data := range []string{
		`{}`, ``, `null`, `{"event":{"json":{"sender":"@a:x"}}}`, `{"users":{"@a:x":{"states":[{"user_id":"@b:x"}]}}}`,
		`{"refusal":{"errcode":"M_FORBIDDEN","http_status":403,"additional_fields":{}}}`, `{"replacement":{ }}`,
		`{"state_events":[{"json":{}},{"json":{"a":1}}]}`, `{"config":{"a":[]},"timeouts_ms":{"a":1}}`, `{"users":[null]}`,
		`{"failures":[{"failure":99,"policy":"SKIP"}],"answer":"AA=="}`, `{"[a]":1}`, `{"\ud800":{}}`, "{\"users\":{\"\xff\":{}}}",
	} {
		f.Add(i, []byte(data))
	}
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		all := messages()
		m := all[uint(which)%uint(len(all))]
		if err := wire.FromJSON(data, m, false); err != nil {
			return
		}
		once, err := wire.ToJSON(m)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", data, err)
		}
		back := m.ProtoReflect().New().Interface()
		if err := wire.FromJSON(once, back, true); err != nil || !proto.Equal(m, back) {
			t.Fatalf("%q: %v became %v, %v", data, m, back, err)
		}
		// Maps have no order, so what is said twice is compared as what it means.
		if twice, err := wire.ToJSON(back); err != nil || len(once) != len(twice) {
			t.Fatalf("%q: %s, then %s, %v", data, once, twice, err)
		}
	})
}
