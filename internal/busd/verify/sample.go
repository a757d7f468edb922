package verify

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// event is an event as homeservers send it.
const event = `{"type": "m.room.message", "room_id": "!verify:example.com", "sender": "@verify:example.com", "origin_server_ts": 1,
"content": {"msgtype": "m.text", "body": "hello"}, "auth_events": [], "prev_events": [], "depth": 1, "hashes": {"sha256": ""}, "signatures": {}}`

// sample returns a request with plausible values in all fields, except those that name something which the module may
// fetch.
func sample(d *subjects.Declaration) proto.Message {
	req := d.NewRequest()
	fill(req.ProtoReflect(), 0)
	if f := declared.Of(d).File; f != nil {
		req.ProtoReflect().Clear(f)
	}
	return req
}

// futureField is a field of a later version, in protobuf.
var futureField = protowire.AppendVarint(protowire.AppendTag(nil, tomorrow, protowire.VarintType), 1)

// depth is how deep nested messages are filled.
const depth = 3

func fill(m protoreflect.Message, deep int) {
	if e, ok := m.Interface().(*callbacksv1.Event); ok {
		e.EventId, e.RoomVersion, e.Json, e.RoomId = "$verify", "10", []byte(event), "!verify:example.com"
		return
	}
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		switch {
		case f.IsMap() || f.ContainingOneof() != nil && !f.HasOptionalKeyword() || deep > depth:
		case f.IsList():
			list := m.Mutable(f).List()
			if f.Message() != nil {
				fill(list.AppendMutable().Message(), deep+1)
			} else {
				list.Append(value(f))
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message(), deep+1)
		default:
			m.Set(f, value(f))
		}
	}
}

// value returns a plausible value for a field, chosen by its name or its type.
func value(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text(string(f.Name())))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("{}"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(f.Enum().Values().Len() - 1).Number())
	}
	return f.Default()
}

func text(name string) string {
	for part, value := range map[string]string{
		"room_id": "!verify:example.com", "event_id": "$verify", "alias": "#verify:example.com", "server": "example.com", "address": "verify@example.com",
		"medium": "email", "mxc": "mxc://example.com/verify", "url": "https://example.com/",
	} {
		if strings.Contains(name, part) {
			return value
		}
	}
	for _, part := range []string{"user", "inviter", "invitee", "sender", "requester", "entity"} {
		if strings.Contains(name, part) {
			return "@verify:example.com"
		}
	}
	return "verify"
}
