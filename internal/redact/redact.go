// Package redact keeps secrets out of what is printed: logs, records, metrics, error texts and pages.
//
// What is secret is declared in schemas, with debug_redact, and nowhere else: passwords, tokens, addresses of people and of
// their machines, and what may hold them. See ADR 46.
package redact

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Message is a copy of the message without the fields that are declared with debug_redact, wherever in it they are.
func Message(m proto.Message) proto.Message {
	c := proto.Clone(m)
	walk(c.ProtoReflect(), func(m protoreflect.Message, f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if secret(f) {
			m.Clear(f)
		}
		return secret(f)
	})
	return c
}

// visit is told of a field that is set. It reports whether that is all there is to see of it.
type visit func(protoreflect.Message, protoreflect.FieldDescriptor, protoreflect.Value) bool

// walk visits the fields of a message, and of messages in it.
func walk(m protoreflect.Message, see visit) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !see(m, f, v) {
			each(f, v, func(f protoreflect.FieldDescriptor, v protoreflect.Value) {
				if f.Message() != nil {
					walk(v.Message(), see)
				}
			})
		}
		return true
	})
}

// each calls do with the values of a field: one, those of a list, or those of a map.
func each(f protoreflect.FieldDescriptor, v protoreflect.Value, do func(protoreflect.FieldDescriptor, protoreflect.Value)) {
	switch {
	case f.IsMap():
		v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { do(f.MapValue(), v); return true })
	case f.IsList():
		for i := range v.List().Len() {
			do(f, v.List().Get(i))
		}
	default:
		do(f, v)
	}
}

// Fields are the paths of the fields that [Message] leaves out of such messages, in the order of their declaration. What is
// in a message of its own kind is not gone into.
func Fields(d protoreflect.MessageDescriptor) []string { return fieldsOf(d, nil) }

func fieldsOf(d protoreflect.MessageDescriptor, in []protoreflect.FullName) (paths []string) {
	if slices.Contains(in, d.FullName()) {
		return nil
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		switch {
		case secret(f):
			paths = append(paths, string(f.Name()))
		case f.Message() != nil:
			for _, path := range fieldsOf(f.Message(), append(in, d.FullName())) {
				paths = append(paths, string(f.Name())+"."+path)
			}
		}
	}
	return paths
}

func secret(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	return ok && o.GetDebugRedact()
}
