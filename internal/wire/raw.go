package wire

import (
	"bytes"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// FromProtobuf sets m from its binary form. It is an error if bytes that should be JSON are not, wherever in the message
// they are; errors name the field and never repeat a value, or the key of a map.
func FromProtobuf(data []byte, m proto.Message) error {
	ok, sound := readQuickly(data, m)
	if sound {
		return nil
	}
	if !ok {
		if err := proto.Unmarshal(data, m); err != nil {
			return err
		}
	}
	md := m.ProtoReflect().Descriptor()
	if !holdsRaw(md) {
		return nil
	}
	if path, want := rawFieldsOf(md).flaw(data); want != "" {
		return mistyped(path, want)
	}
	return nil
}

// readQuickly sets m without reflection, and reports whether it could; else m is as it was. It reports as well whether it has seen that
// all that should be JSON is.
func readQuickly(data []byte, m proto.Message) (ok, sound bool) {
	switch m := m.(type) {
	case holder:
		return readUnsigned(data, m)
	case asker:
		return readEvents(data, m)
	}
	return false, false
}

// rawFields are the fields in which a message of some type can hold raw JSON. They read bytes that have been unmarshalled, and not
// the message: to range over maps of maps by reflection costs more than to unmarshal them.
type rawFields struct{ fields []rawField }

// rawField is a field that is raw JSON, or a message in which there can be some.
type rawField struct {
	field  protoreflect.FieldDescriptor
	name   string
	within *rawFields // nil where the field is raw
}

// flaw is where data is not what it should be, and what it should be there; both are empty if all is well.
func (s *rawFields) flaw(data []byte) (path, want string) {
	for rest := data; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		size := protowire.ConsumeFieldValue(number, kind, rest[max(n, 0):])
		if n < 0 || size < 0 {
			return "", "" // Unreachable: proto.Unmarshal accepted data.
		}
		if p := s.field(number); p != nil && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(rest[n:])
			if path, want = p.flaw(value); want != "" {
				return p.join(data[:len(data)-len(rest)], path), want
			}
		}
		rest = rest[n+size:]
	}
	return "", ""
}

func (s *rawFields) field(n protowire.Number) *rawField {
	for i := range s.fields {
		if s.fields[i].field.Number() == n {
			return &s.fields[i]
		}
	}
	return nil
}

func (p *rawField) flaw(value []byte) (path, want string) {
	switch {
	case p.within != nil:
		return p.within.flaw(value)
	case len(value) == 0 && !p.field.HasPresence():
		return "", ""
	}
	return "", wantedRaw(p.field, value)
}

// join puts the name of the field before a path. In a list, that is its number, after those in the bytes before.
func (p *rawField) join(before []byte, path string) string {
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

// wantedRaw is what raw should be and is not; empty if it is.
func wantedRaw(f protoreflect.FieldDescriptor, raw []byte) string {
	if f.ContainingMessage().IsMapEntry() {
		if !validJSON(raw) {
			return "JSON"
		}
		return ""
	}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || trimmed[0] != '{' || !validJSON(raw) {
		return "a JSON object"
	}
	return ""
}

var rawByMessage sync.Map // protoreflect.MessageDescriptor → *rawFields; as many as there are message types

func rawFieldsOf(md protoreflect.MessageDescriptor) *rawFields {
	if known, ok := rawByMessage.Load(md); ok {
		return known.(*rawFields)
	}
	s := survey(md, map[protoreflect.FullName]*rawFields{})
	rawByMessage.Store(md, s)
	return s
}

func survey(md protoreflect.MessageDescriptor, begun map[protoreflect.FullName]*rawFields) *rawFields {
	if s := begun[md.FullName()]; s != nil {
		return s
	}
	s := &rawFields{}
	begun[md.FullName()] = s
	for i := range md.Fields().Len() {
		switch f := md.Fields().Get(i); {
		case f.IsMap() && (isRaw(f) || holdsRaw(f.Message())):
			s.fields = append(s.fields, rawField{f, string(f.Name()) + "[*]", surveyMap(f, begun)})
		case isRaw(f):
			s.fields = append(s.fields, rawField{f, string(f.Name()), nil})
		case f.Message() != nil && holdsRaw(f.Message()):
			s.fields = append(s.fields, rawField{f, string(f.Name()), survey(f.Message(), begun)})
		}
	}
	return s
}

// surveyMap returns those of a map's entry, which is a message on the wire, whose value has no name of its own.
func surveyMap(f protoreflect.FieldDescriptor, begun map[protoreflect.FullName]*rawFields) *rawFields {
	value := rawField{field: f.MapValue()}
	if !isRaw(f) {
		value.within = survey(f.MapValue().Message(), begun)
	}
	return &rawFields{[]rawField{value}}
}
