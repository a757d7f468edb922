package antispam

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// federationKeys are those of an event that clients do not see: what Synapse's format_event_for_client_v2 takes away.
var federationKeys = []string{"auth_events", "prev_events", "hashes", "signatures", "depth", "origin", "prev_state"}

// ErrNotJSON is what [Decode] returns for a body that is no JSON object at all.
var ErrNotJSON = errors.New("the body is not a JSON object")

// Find returns the callback that the protocol has under that name, which is the last segment of a URL's path.
func Find(name string) (*subjects.Declaration, bool) {
	d, ok := subjects.Find(name)
	return d, ok && d.Name == name && d.Options.GetAntispam()
}

// Callbacks returns the callbacks that the protocol has, in the order of the catalogue.
func Callbacks() (all []*subjects.Declaration) {
	for _, d := range subjects.All() {
		if d.Options.GetAntispam() {
			all = append(all, d)
		}
	}
	return all
}

// Encode returns the body that asks the callback: canonical JSON, as synapse-http-antispam sends it. It is an error if an
// event in the request is no JSON object.
func Encode(req proto.Message) ([]byte, error) {
	v, err := written(req.ProtoReflect())
	if err != nil {
		return nil, err
	}
	return appendCanonical(nil, v), nil
}

// written is the message as what [appendCanonical] takes.
func written(m protoreflect.Message) (any, error) {
	if formOf(m.Descriptor()) == callbacksv1.Antispam_CLIENT_EVENT {
		return clientEvent(m.Interface().(*callbacksv1.Event))
	}
	object, list := map[string]any{}, []any{}
	for _, f := range fieldsOf(m.Descriptor()) {
		v, err := writtenField(m, f)
		if err != nil {
			return nil, err
		}
		object[string(f.Name())] = v
		list = append(list, v)
	}
	if formOf(m.Descriptor()) == callbacksv1.Antispam_LIST {
		return list, nil
	}
	return object, nil
}

func writtenField(m protoreflect.Message, f protoreflect.FieldDescriptor) (any, error) {
	switch {
	case f.HasOptionalKeyword() && !m.Has(f):
		return nil, nil
	case f.IsList():
		list := []any{}
		for i := range m.Get(f).List().Len() {
			v, err := written(m.Get(f).List().Get(i).Message())
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case f.Message() != nil:
		return written(m.Get(f).Message())
	}
	return m.Get(f).Interface(), nil
}

// clientEvent is the event as clients see it. What Synapse hands to its modules always has unsigned.
func clientEvent(e *callbacksv1.Event) (any, error) {
	v, err := parse(e.GetJson())
	event, ok := v.(map[string]any)
	if err != nil || !ok {
		return nil, errors.New("the event is not a JSON object")
	}
	for _, key := range federationKeys {
		delete(event, key)
	}
	if event["unsigned"] == nil {
		event["unsigned"] = map[string]any{}
	}
	event["event_id"] = e.GetEventId()
	return event, nil
}

// Decode returns the callback's request from a body. It is [ErrNotJSON], or an error that names a field, which is missing or
// of the wrong type, and never repeats a value. What is not known is passed over, and a boolean that is missing is false.
func Decode(d *subjects.Declaration, body []byte) (proto.Message, error) {
	members, ok := valid(body).object()
	if !ok {
		return nil, ErrNotJSON
	}
	req := d.NewRequest()
	return req, readFields(req.ProtoReflect(), members, "")
}

func readFields(m protoreflect.Message, members object, path string) error {
	for _, f := range fieldsOf(m.Descriptor()) {
		if err := readField(m, f, members.get(string(f.Name())), path+string(f.Name())); err != nil {
			return err
		}
	}
	return nil
}

func readField(m protoreflect.Message, f protoreflect.FieldDescriptor, v raw, path string) error {
	switch {
	case v.null() && (f.HasOptionalKeyword() || f.IsList() || f.Kind() == protoreflect.BoolKind):
		return nil
	case v == nil:
		return fmt.Errorf("field %s: is missing", path)
	case f.IsList():
		return readList(m.Mutable(f).List(), v, path)
	case f.Message() != nil:
		return read(m.Mutable(f).Message(), v, path)
	}
	scalar, err := v.scalar(f.Kind(), path)
	if err == nil {
		m.Set(f, scalar)
	}
	return err
}

func readList(into protoreflect.List, v raw, path string) error {
	items, ok := v.list()
	if !ok {
		return mistyped(path, "a list")
	}
	for i, item := range items {
		if err := read(into.AppendMutable().Message(), item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

// read sets a message in the form that it has in the protocol.
func read(m protoreflect.Message, v raw, path string) error {
	if formOf(m.Descriptor()) == callbacksv1.Antispam_LIST {
		return readTuple(m, v, path)
	}
	members, ok := v.object()
	switch {
	case !ok:
		return mistyped(path, "an object")
	case formOf(m.Descriptor()) == callbacksv1.Antispam_CLIENT_EVENT:
		return readEvent(m.Interface().(*callbacksv1.Event), v, members, path)
	}
	return readFields(m, members, path+".")
}

func readTuple(m protoreflect.Message, v raw, path string) error {
	items, ok := v.list()
	fields := fieldsOf(m.Descriptor())
	if !ok || len(items) != len(fields) {
		return mistyped(path, fmt.Sprintf("a list of %d", len(fields)))
	}
	for i, f := range fields {
		if err := readField(m, f, items[i], fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

// readEvent keeps the event as it came. From room version 12 on, m.room.create has no room_id; which version it is, the
// protocol does not say.
func readEvent(e *callbacksv1.Event, v raw, members object, path string) error {
	for _, key := range []struct {
		name     string
		to       *string
		optional bool
	}{{"event_id", &e.EventId, false}, {"sender", new(string), false}, {"type", new(string), false}, {"room_id", &e.RoomId, true}} {
		value := members.get(key.name)
		if value == nil && key.optional {
			continue
		}
		text, err := value.scalar(protoreflect.StringKind, path+"."+key.name)
		if err != nil {
			return err
		}
		*key.to = text.String()
	}
	e.Json = []byte(v)
	return nil
}

// SenderServer returns the server of the sender of the event that a decoded request is about; empty for a request without an event.
func SenderServer(req proto.Message) string {
	r, _ := req.(interface{ GetEvent() *callbacksv1.Event })
	if r == nil {
		return ""
	}
	event, _ := valid(r.GetEvent().GetJson()).object()
	sender, _ := event.get("sender").text()
	_, server, _ := strings.Cut(sender, ":")
	return server
}

// shape is how the protocol writes a message.
type shape struct {
	form   callbacksv1.Antispam
	fields []protoreflect.FieldDescriptor // that the protocol has
}

// shapes are those of all messages in the protocol.
var shapes = func() map[protoreflect.MessageDescriptor]shape {
	all := map[protoreflect.MessageDescriptor]shape{}
	for _, d := range Callbacks() {
		addShapes(all, d.NewRequest().ProtoReflect().Descriptor())
	}
	return all
}()

func addShapes(all map[protoreflect.MessageDescriptor]shape, md protoreflect.MessageDescriptor) {
	form, _ := proto.GetExtension(md.Options(), callbacksv1.E_Antispam).(callbacksv1.Antispam)
	s := shape{form: form}
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		if left, _ := proto.GetExtension(f.Options(), callbacksv1.E_NotInAntispam).(bool); left {
			continue
		}
		if s.fields = append(s.fields, f); f.Message() != nil {
			addShapes(all, f.Message())
		}
	}
	all[md] = s
}

func fieldsOf(md protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	return shapes[md].fields
}

func formOf(md protoreflect.MessageDescriptor) callbacksv1.Antispam { return shapes[md].form }
