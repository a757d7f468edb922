// Package declared finds the fields of a callback's messages that have a role: those that the options of schemas mark. Packages bus
// and modulekit know this of a callback beside what package subjects shows everybody.
package declared

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// View is a declaration with the fields that have a role in its messages; each is nil where there is none.
type View struct {
	*subjects.Declaration

	// RequestFields and ReplyFields describe the messages.
	RequestFields, ReplyFields protoreflect.FieldDescriptors

	// Key is the field of the request whose value a module registers for.
	Key protoreflect.FieldDescriptor

	// Keyed is the field of the request of which a module gets only what it registered for.
	Keyed protoreflect.FieldDescriptor

	// State is the field of the request of which a module gets only what it declared to need.
	State protoreflect.FieldDescriptor

	// File is the field of the request through which a module reads a file.
	File protoreflect.FieldDescriptor

	// Event is the field of the request with the event that it is about.
	Event protoreflect.FieldDescriptor

	// ToModule and ToWorker are the fields of a request that name the only module and worker to be told.
	ToModule, ToWorker protoreflect.FieldDescriptor

	// Order leads to the field of the request by which news is ordered: each field but the last holds a message with the
	// next one. Empty where news has no order.
	Order []protoreflect.FieldDescriptor

	// FromWorker is the field of the reply that names the worker which gave it.
	FromWorker protoreflect.FieldDescriptor

	// FollowIf is the field of the reply that must be set for it to be followed up.
	FollowIf protoreflect.FieldDescriptor
}

var views = build()

// Of returns the view of a callback. It is the same for each call, and must not be changed.
func Of(c subjects.AnyCallback) *View { return views[subjects.DeclarationOf(c)] }

func build() map[*subjects.Declaration]*View {
	all := map[*subjects.Declaration]*View{}
	for _, d := range subjects.All() {
		all[d] = view(d)
	}
	return all
}

func view(d *subjects.Declaration) *View {
	in, out := d.NewRequest().ProtoReflect().Descriptor().Fields(), d.NewReply().ProtoReflect().Descriptor().Fields()
	return &View{
		Declaration: d, RequestFields: in, ReplyFields: out,
		Key: marked(in, callbacksv1.E_Key), Keyed: marked(in, callbacksv1.E_Keyed),
		State: marked(in, callbacksv1.E_State), File: ofType(in, (*callbacksv1.FileWrapper)(nil)),
		Event:    ofType(in, (*callbacksv1.Event)(nil)),
		ToModule: marked(in, callbacksv1.E_ToModule), ToWorker: marked(in, callbacksv1.E_ToWorker),
		Order:      order(in),
		FromWorker: marked(out, callbacksv1.E_ToWorker), FollowIf: marked(out, callbacksv1.E_FollowedUp),
	}
}

// order follows the fields that order news, down to a text.
func order(fields protoreflect.FieldDescriptors) (path []protoreflect.FieldDescriptor) {
	for f := marked(fields, callbacksv1.E_Order); f != nil; f = marked(fields, callbacksv1.E_Order) {
		path = append(path, f)
		if f.Message() == nil {
			return path
		}
		fields = f.Message().Fields()
	}
	return nil
}

// OrderOf returns the value by which a request is ordered among the news of a module, and whether it has an order.
func (v *View) OrderOf(req proto.Message) (value string, ordered bool) {
	m := req.ProtoReflect()
	for _, f := range v.Order {
		if f.Message() == nil {
			return m.Get(f).String(), true
		}
		m = m.Get(f).Message()
	}
	return "", false
}

// marked returns the field that has an option, or nil.
func marked(fields protoreflect.FieldDescriptors, option protoreflect.ExtensionType) protoreflect.FieldDescriptor {
	return first(fields, func(f protoreflect.FieldDescriptor) bool {
		return f.Options() != nil && proto.GetExtension(f.Options(), option).(bool)
	})
}

func ofType(fields protoreflect.FieldDescriptors, message proto.Message) protoreflect.FieldDescriptor {
	return first(fields, func(f protoreflect.FieldDescriptor) bool {
		return f.Message() != nil && f.Message().FullName() == message.ProtoReflect().Descriptor().FullName()
	})
}

func first(fields protoreflect.FieldDescriptors, is func(protoreflect.FieldDescriptor) bool) protoreflect.FieldDescriptor {
	for i := range fields.Len() {
		if f := fields.Get(i); is(f) {
			return f
		}
	}
	return nil
}
