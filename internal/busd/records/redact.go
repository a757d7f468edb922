package records

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// redacted is a copy of the message without the fields that are declared with debug_redact, wherever in it they are.
func redacted(m proto.Message) proto.Message {
	c := proto.Clone(m)
	redact(c.ProtoReflect())
	return c
}

func redact(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case secret(f):
			m.Clear(f)
		case f.IsMap():
			redactMap(f, v.Map())
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				redact(v.List().Get(i).Message())
			}
		case f.Message() != nil && !f.IsList():
			redact(v.Message())
		}
		return true
	})
}

func redactMap(f protoreflect.FieldDescriptor, entries protoreflect.Map) {
	if f.MapValue().Message() == nil {
		return
	}
	entries.Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
		redact(v.Message())
		return true
	})
}

func secret(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	return ok && o.GetDebugRedact()
}
