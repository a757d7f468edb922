package wire

import "google.golang.org/protobuf/reflect/protoreflect"

// TypeName says what a field holds in the JSON mapping, as the reference pages do.
func TypeName(f protoreflect.FieldDescriptor) string {
	if f.IsMap() {
		return "map of " + TypeName(f.MapValue())
	}
	name := f.Kind().String()
	switch {
	case f.Message() != nil:
		name = string(f.Message().Name())
	case f.Enum() != nil:
		name = string(f.Enum().Name())
	case isRaw(f):
		name = "JSON"
	}
	switch {
	case f.IsList():
		return "list of " + name
	case f.HasOptionalKeyword():
		return "optional " + name
	}
	return name
}
