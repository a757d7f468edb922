// Package redacttest fills messages with secrets that a test can look for.
package redacttest

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Seeds are what Fill put into the fields of a message.
type Seeds struct {
	// Secret are in fields that are declared with debug_redact, Open in all others.
	Secret, Open []string
}

// Fill sets every field of a message, and of messages in it, that can hold text, each to another one. A name says which
// message it is, and is in all of them.
func Fill(m proto.Message, name string) (s Seeds) {
	f := filler{name: name, seeds: &s}
	f.message(m.ProtoReflect(), &s.Open)
	return s
}

type filler struct {
	name  string
	n     int
	seeds *Seeds
	depth int
}

// maxDepth is where messages that hold themselves end.
const maxDepth = 4

func (f *filler) message(m protoreflect.Message, kind *[]string) {
	if f.depth++; f.depth <= maxDepth {
		for i := range m.Descriptor().Fields().Len() {
			f.field(m, m.Descriptor().Fields().Get(i), kind)
		}
	}
	f.depth--
}

func (f *filler) field(m protoreflect.Message, d protoreflect.FieldDescriptor, kind *[]string) {
	kind = f.kindOf(d, kind)
	switch {
	case d.IsMap():
		value := m.Mutable(d).Map().NewValue()
		if d.MapKey().Kind() == protoreflect.StringKind && f.value(d.MapValue(), &value, kind) {
			m.Mutable(d).Map().Set(protoreflect.ValueOfString("key").MapKey(), value)
		}
	case d.IsList():
		value := m.Mutable(d).List().NewElement()
		if f.value(d, &value, kind) {
			m.Mutable(d).List().Append(value)
		}
	default:
		value := m.NewField(d)
		if f.value(d, &value, kind) {
			m.Set(d, value)
		}
	}
}

func (f *filler) kindOf(d protoreflect.FieldDescriptor, of *[]string) *[]string {
	if o, ok := d.Options().(*descriptorpb.FieldOptions); ok && o.GetDebugRedact() {
		return &f.seeds.Secret
	}
	return of
}

// value fills one value, and reports whether it can hold text.
func (f *filler) value(d protoreflect.FieldDescriptor, v *protoreflect.Value, kind *[]string) bool {
	switch {
	case d.Message() != nil:
		f.message(v.Message(), kind)
	case d.Kind() == protoreflect.StringKind:
		*v = protoreflect.ValueOfString(f.seed(kind))
	case d.Kind() == protoreflect.BytesKind && proto.GetExtension(d.Options(), callbacksv1.E_RawJson).(bool):
		*v = protoreflect.ValueOfBytes([]byte(`{"member":{"list":[` + strconv.Quote(f.seed(kind)) + `]}}`))
	case d.Kind() == protoreflect.BytesKind:
		*v = protoreflect.ValueOfBytes([]byte(f.seed(kind)))
	default:
		return false
	}
	return true
}

func (f *filler) seed(kind *[]string) string {
	f.n++
	word := "open"
	if kind == &f.seeds.Secret {
		word = "secret"
	}
	seed := fmt.Sprintf("%s-%s-%d-seed", word, f.name, f.n)
	*kind = append(*kind, seed)
	return seed
}
