package wire

import "google.golang.org/protobuf/reflect/protoreflect"

// Form says what a field holds in the JSON mapping, such as "list of StateEvent". The generator, which reads descriptors
// before there is any Go, says the same on the reference pages; a test of docs compares the two.
func Form(f protoreflect.FieldDescriptor) string {
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
