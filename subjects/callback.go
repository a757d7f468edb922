package subjects

import (
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Category is a category of callbacks, as its service in schemas declares it.
type Category struct {
	// Name is Synapse's, such as spam_checker.
	Name string

	// AllOrNone says that a module registers all callbacks of the category or none.
	AllOrNone bool

	// Callbacks are those of the category, in order of their declaration.
	Callbacks []*Declaration

	service protoreflect.ServiceDescriptor
}

// Declaration is a callback, as its rpc in schemas declares it.
type Declaration struct {
	// Index is the callback's place in [All]. It is not the same in every version.
	Index int

	// Category is where the callback belongs.
	Category *Category

	// Name is Synapse's, such as user_may_create_room. No two callbacks share one.
	Name string

	// Options are the facts that stand with the declaration.
	Options *callbacksv1.Callback

	// Key is the field of the request whose value a module registers for, or nil.
	Key protoreflect.FieldDescriptor

	// Keyed is the field of the request of which a module gets only what it registered for, or nil.
	Keyed protoreflect.FieldDescriptor

	// State is the field of the request of which a module gets only what it declared to need, or nil.
	State protoreflect.FieldDescriptor

	// File is the field of the request through which a module reads a file, or nil.
	File protoreflect.FieldDescriptor

	// ToModule and ToWorker are the fields of a request that name who alone is told, or nil.
	ToModule, ToWorker protoreflect.FieldDescriptor

	// FromWorker is the field of the reply that names the worker which gave it, or nil.
	FromWorker protoreflect.FieldDescriptor

	// FollowIf is the field of the reply that must be set for it to be followed up, or nil.
	FollowIf protoreflect.FieldDescriptor

	full           string
	request, reply protoreflect.MessageType
	refusal        protoreflect.FieldDescriptor // of the reply, or nil
}

// Callback is a declaration together with the types of its messages.
type Callback[Request, Reply proto.Message] struct{ *Declaration }

var all []*Declaration

// All returns every callback, and every follow-up of one. The slice is the caller's.
func All() []*Declaration { return append([]*Declaration(nil), all...) }

// Categories returns every category, in the order of [All].
func Categories() []*Category {
	var categories []*Category
	for _, d := range all {
		if len(categories) == 0 || categories[len(categories)-1] != d.Category {
			categories = append(categories, d.Category)
		}
	}
	return categories
}

// Find returns the callback with that name or full name.
func Find(name string) (*Declaration, bool) {
	for _, d := range all {
		if d.Name == name || d.full == name {
			return d, true
		}
	}
	return nil, false
}

// FullName is the category's and the callback's name, such as spam_checker.user_may_create_room.
func (d *Declaration) FullName() string { return d.full }

// FollowUp reports whether this is no callback of Synapse's, but the second half of some.
func (d *Declaration) FollowUp() bool { return len(d.Options.GetFollows()) > 0 }

// FollowedBy returns the follow-up of the callback, or nil.
func (d *Declaration) FollowedBy() *Declaration {
	for _, f := range d.Category.Callbacks {
		for _, name := range f.Options.GetFollows() {
			if snake(name) == d.Name {
				return f
			}
		}
	}
	return nil
}

// NewRequest returns an empty request.
func (d *Declaration) NewRequest() proto.Message { return d.request.New().Interface() }

// NewReply returns an empty reply.
func (d *Declaration) NewReply() proto.Message { return d.reply.New().Interface() }

// RequestFields describes the request.
func (d *Declaration) RequestFields() protoreflect.FieldDescriptors {
	return d.request.Descriptor().Fields()
}

// ReplyFields describes the reply.
func (d *Declaration) ReplyFields() protoreflect.FieldDescriptors {
	return d.reply.Descriptor().Fields()
}

// CanRefuse reports whether an answer can be a refusal.
func (d *Declaration) CanRefuse() bool { return d.refusal != nil }

// KnowsOrigin reports whether the request tells which server it comes from.
func (d *Declaration) KnowsOrigin() bool {
	return d.Options.GetOnFailureFederated() != callbacksv1.OnFailure_ON_FAILURE_UNSPECIFIED
}

// Refused returns a reply that refuses. It panics if the callback cannot; see [Declaration.CanRefuse].
func (d *Declaration) Refused(r *callbacksv1.Refusal) proto.Message {
	reply := d.reply.New()
	reply.Set(d.refusal, protoreflect.ValueOfMessage(r.ProtoReflect()))
	return reply.Interface()
}

func category(s protoreflect.ServiceDescriptor) *Category {
	options, _ := proto.GetExtension(s.Options(), callbacksv1.E_Category).(*callbacksv1.Category)
	return &Category{Name: snake(string(s.Name())), AllOrNone: options.GetAllOrNone(), service: s}
}

func declare[Request, Reply proto.Message](c *Category, method int) Callback[Request, Reply] {
	var request Request
	var reply Reply
	m := c.service.Methods().Get(method)
	d := &Declaration{
		Index:    len(all),
		Category: c,
		Name:     snake(string(m.Name())),
		Options:  proto.GetExtension(m.Options(), callbacksv1.E_Callback).(*callbacksv1.Callback),
		request:  request.ProtoReflect().Type(),
		reply:    reply.ProtoReflect().Type(),
		refusal:  m.Output().Fields().ByName("refusal"),
	}
	d.full = c.Name + "." + d.Name
	d.Key, d.Keyed = marked(m.Input(), callbacksv1.E_Key), marked(m.Input(), callbacksv1.E_Keyed)
	d.State, d.File = marked(m.Input(), callbacksv1.E_State), ofType(m.Input(), (*callbacksv1.FileWrapper)(nil))
	d.ToModule, d.ToWorker = marked(m.Input(), callbacksv1.E_ToModule), marked(m.Input(), callbacksv1.E_ToWorker)
	d.FromWorker, d.FollowIf = marked(m.Output(), callbacksv1.E_ToWorker), marked(m.Output(), callbacksv1.E_FollowedUp)
	c.Callbacks = append(c.Callbacks, d)
	all = append(all, d)
	return Callback[Request, Reply]{d}
}

// marked returns the field that has an option, or nil.
func marked(m protoreflect.MessageDescriptor, option protoreflect.ExtensionType) protoreflect.FieldDescriptor {
	return field(m, func(f protoreflect.FieldDescriptor) bool {
		return f.Options() != nil && proto.GetExtension(f.Options(), option).(bool)
	})
}

func ofType(m protoreflect.MessageDescriptor, message proto.Message) protoreflect.FieldDescriptor {
	return field(m, func(f protoreflect.FieldDescriptor) bool {
		return f.Message() != nil && f.Message().FullName() == message.ProtoReflect().Descriptor().FullName()
	})
}

func field(m protoreflect.MessageDescriptor, is func(protoreflect.FieldDescriptor) bool) protoreflect.FieldDescriptor {
	for i := range m.Fields().Len() {
		if f := m.Fields().Get(i); is(f) {
			return f
		}
	}
	return nil
}

// snake spells a Go name as Synapse does: UserMaySend3PidInvite is user_may_send_3pid_invite.
func snake(name string) string {
	var b strings.Builder
	var last rune
	for i, r := range name {
		word := unicode.IsUpper(r) && !unicode.IsDigit(last) || unicode.IsDigit(r) && unicode.IsLetter(last)
		if i > 0 && word {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
		last = r
	}
	return b.String()
}
