package wire

import "google.golang.org/protobuf/reflect/protoreflect"

// TypeName says what a field holds in the JSON mapping, as the reference pages do.
func TypeName(f protoreflect.FieldDescriptor) string {
	value := f
	if f.IsMap() {
		value = f.MapValue()
	}
	name := value.Kind().String()
	switch {
	case value.Message() != nil:
		name = string(value.Message().Name())
	case value.Enum() != nil:
		name = string(value.Enum().Name())
	case isRaw(f):
		name = "JSON"
	}
	switch {
	case f.IsMap():
		return "map of " + name
	case f.IsList():
		return "list of " + name
	case f.HasOptionalKeyword():
		return "optional " + name
	}
	return name
}
