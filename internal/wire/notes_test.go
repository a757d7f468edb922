package wire_test

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// notes is a message with raw JSON in every place where a message can have bytes:
//
//	message Notes {
//	  repeated Note list = 1;
//	  map<string, Note> by_name = 2;
//	  repeated bytes raw_list = 3 [(raw_json) = true];
//	  map<string, bytes> raw_by_name = 4 [(raw_json) = true];
//	}
//	message Note { bytes raw = 1 [(raw_json) = true]; }
var notes = func() protoreflect.MessageDescriptor {
	const entry = "Entry"
	rawJSON := &descriptorpb.FieldOptions{}
	proto.SetExtension(rawJSON, callbacksv1.E_RawJson, true)
	field := func(number int32, name string, many bool, of string, options *descriptorpb.FieldOptions) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{
			Name: &name, Number: &number, Options: options,
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			Type:  descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum(),
		}
		if many {
			f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		}
		if of != "" {
			f.TypeName, f.Type = &of, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
		}
		return f
	}
	mapEntry := func(name, of string) *descriptorpb.DescriptorProto {
		key := field(1, "key", false, "", nil)
		key.Type = descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
		return &descriptorpb.DescriptorProto{
			Name:    new(name + entry),
			Field:   []*descriptorpb.FieldDescriptorProto{key, field(2, "value", false, of, nil)},
			Options: &descriptorpb.MessageOptions{MapEntry: new(true)},
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("notes.proto"), Package: new("notes"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{
				Name: new("Notes"),
				Field: []*descriptorpb.FieldDescriptorProto{
					field(1, "list", true, ".notes.Note", nil),
					field(2, "by_name", true, ".notes.Notes.ByName"+entry, nil),
					field(3, "raw_list", true, "", rawJSON),
					field(4, "raw_by_name", true, ".notes.Notes.RawByName"+entry, rawJSON),
				},
				NestedType: []*descriptorpb.DescriptorProto{mapEntry("ByName", ".notes.Note"), mapEntry("RawByName", "")},
			},
			{Name: new("Note"), Field: []*descriptorpb.FieldDescriptorProto{field(1, "raw", false, "", rawJSON)}},
		},
	}, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	return file.Messages().Get(0)
}()

func newNotes() proto.Message { return dynamicpb.NewMessage(notes) }

// note is a Notes with raw bytes in one of its places.
func note(place, raw string) proto.Message {
	m := dynamicpb.NewMessage(notes)
	f := notes.Fields().ByName(protoreflect.Name(place))
	bytes, key := protoreflect.ValueOfBytes([]byte(raw)), protoreflect.ValueOfString(secret).MapKey()
	set := func(note protoreflect.Value) protoreflect.Value {
		note.Message().Set(note.Message().Descriptor().Fields().Get(0), bytes)
		return note
	}
	switch place {
	case "list":
		m.Mutable(f).List().Append(set(m.Mutable(f).List().NewElement()))
	case "by_name":
		m.Mutable(f).Map().Set(key, set(m.Mutable(f).Map().NewValue()))
	case "raw_list":
		m.Mutable(f).List().Append(bytes)
	case "raw_by_name":
		m.Mutable(f).Map().Set(key, bytes)
	}
	return m
}
