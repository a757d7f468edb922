package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// FromProtobuf sets m from its binary form. It is an error if bytes that should be JSON are not, wherever in the message
// they are; errors name the field and never repeat a value, or the key of a map.
func FromProtobuf(data []byte, m proto.Message) error {
	if err := proto.Unmarshal(data, m); err != nil {
		return err
	}
	md := m.ProtoReflect().Descriptor()
	if !holdsRaw(md) {
		return nil
	}
	if path, want := shapeOf(md).flaw(data); want != "" {
		return mistyped(path, want)
	}
	return nil
}

// shape is where a message of some type can hold raw JSON. It looks at bytes that have been unmarshalled, and not at the
// message: to range over maps of maps by reflection costs more than to unmarshal them.
type shape struct{ places []place }

// place is a field that is raw JSON, or a message in which there can be some.
type place struct {
	field  protoreflect.FieldDescriptor
	name   string
	within *shape // nil where the field is raw
}

// flaw is where data is not what it should be, and what it should be there; nothing if all is well.
func (s *shape) flaw(data []byte) (path, want string) {
	for rest := data; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		size := protowire.ConsumeFieldValue(number, kind, rest[max(n, 0):])
		if n < 0 || size < 0 {
			return "", "" // Unreachable: proto.Unmarshal accepted data.
		}
		if p := s.place(number); p != nil && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(rest[n:])
			if path, want = p.flaw(value); want != "" {
				return p.join(data[:len(data)-len(rest)], path), want
			}
		}
		rest = rest[n+size:]
	}
	return "", ""
}

func (s *shape) place(n protowire.Number) *place {
	for i := range s.places {
		if s.places[i].field.Number() == n {
			return &s.places[i]
		}
	}
	return nil
}

func (p *place) flaw(value []byte) (path, want string) {
	switch {
	case p.within != nil:
		return p.within.flaw(value)
	case len(value) == 0 && !p.field.HasPresence():
		return "", ""
	}
	return "", wantedRaw(p.field, value)
}

// join puts the name of the place before a path. In a list, that is its number, after those in the bytes before.
func (p *place) join(before []byte, path string) string {
	name := p.name
	if p.field.IsList() {
		name = fmt.Sprintf("%s[%d]", name, occurrences(before, p.field.Number()))
	}
	if path == "" {
		return name
	}
	return join(name, path)
}

func occurrences(data []byte, of protowire.Number) (count int) {
	for len(data) > 0 {
		number, _, n := protowire.ConsumeField(data)
		if number == of {
			count++
		}
		data = data[n:]
	}
	return count
}

// wantedRaw is what raw should be and is not; nothing if it is.
func wantedRaw(f protoreflect.FieldDescriptor, raw []byte) string {
	if f.ContainingMessage().IsMapEntry() {
		if !json.Valid(raw) {
			return "JSON"
		}
		return ""
	}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || trimmed[0] != '{' || !json.Valid(raw) {
		return "a JSON object"
	}
	return ""
}

var shapes sync.Map // protoreflect.FullName → *shape; as many as there are message types

func shapeOf(md protoreflect.MessageDescriptor) *shape {
	if known, ok := shapes.Load(md.FullName()); ok {
		return known.(*shape)
	}
	s := survey(md, map[protoreflect.FullName]*shape{})
	shapes.Store(md.FullName(), s)
	return s
}

func survey(md protoreflect.MessageDescriptor, begun map[protoreflect.FullName]*shape) *shape {
	if s := begun[md.FullName()]; s != nil {
		return s
	}
	s := &shape{}
	begun[md.FullName()] = s
	for i := range md.Fields().Len() {
		switch f := md.Fields().Get(i); {
		case f.IsMap() && (isRaw(f) || holdsRaw(f.Message())):
			s.places = append(s.places, place{f, string(f.Name()) + "[*]", surveyMap(f, begun)})
		case isRaw(f):
			s.places = append(s.places, place{f, string(f.Name()), nil})
		case f.Message() != nil && holdsRaw(f.Message()):
			s.places = append(s.places, place{f, string(f.Name()), survey(f.Message(), begun)})
		}
	}
	return s
}

// surveyMap is the shape of a map's entry, which is a message on the wire, whose value has no name of its own.
func surveyMap(f protoreflect.FieldDescriptor, begun map[protoreflect.FullName]*shape) *shape {
	value := place{field: f.MapValue()}
	if !isRaw(f) {
		value.within = survey(f.MapValue().Message(), begun)
	}
	return &shape{[]place{value}}
}
