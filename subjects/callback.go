package subjects

import (
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Category is a category of callbacks, as its service in schemas declares it. It must not be changed.
type Category struct {
	// Name is Synapse's, such as spam_checker.
	Name string

	// AllOrNone says that a module registers all callbacks of the category or none.
	AllOrNone bool

	// Callbacks are those of the category, in order of their declaration.
	Callbacks []*Declaration

	service protoreflect.ServiceDescriptor
}

// Declaration is a callback, as its rpc in schemas declares it. There is one for each callback, so two can be compared
// with ==. It must not be changed.
type Declaration struct {
	// Category is where the callback belongs.
	Category *Category

	// Name is Synapse's, such as user_may_create_room. No two callbacks share one.
	Name string

	// Options are the options of the declaration.
	Options *callbacksv1.CallbackOptions

	index          int // in all
	full, rpc      string
	request, reply func() proto.Message
	refusal        protoreflect.FieldDescriptor // of the reply, or nil
}

// Callback is a declaration together with the types of its messages.
type Callback[Request, Reply proto.Message] struct{ *Declaration }

// AnyCallback is a [Callback] of any types, or a [*Declaration].
type AnyCallback interface{ declaration() *Declaration }

func (d *Declaration) declaration() *Declaration { return d }

// DeclarationOf returns the declaration of a callback.
func DeclarationOf(c AnyCallback) *Declaration { return c.declaration() }

var all []*Declaration

// All returns every callback, and every follow-up of one. The caller may change the slice.
func All() []*Declaration { return slices.Clone(all) }

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

// Find returns the callback with a name or full name, and whether there is one.
func Find(name string) (*Declaration, bool) {
	for _, d := range all {
		if d.Name == name || d.full == name {
			return d, true
		}
	}
	return nil, false
}

// Index is the callback's index in [All], for tables by callback. It may differ between versions of this module.
func (d *Declaration) Index() int { return d.index }

// FullName is the category's and the callback's name, such as spam_checker.user_may_create_room.
func (d *Declaration) FullName() string { return d.full }

// FollowUp reports whether this follows up on other callbacks, and is not a callback of Synapse's own.
func (d *Declaration) FollowUp() bool { return len(d.Options.GetFollows()) > 0 }

// FollowedBy returns the follow-up of the callback, or nil.
func (d *Declaration) FollowedBy() *Declaration {
	for _, f := range d.Category.Callbacks {
		if slices.Contains(f.Options.GetFollows(), d.rpc) {
			return f
		}
	}
	return nil
}

// NewRequest returns an empty request.
func (d *Declaration) NewRequest() proto.Message { return d.request() }

// NewReply returns an empty reply.
func (d *Declaration) NewReply() proto.Message { return d.reply() }

// CanRefuse reports whether an answer can be a refusal.
func (d *Declaration) CanRefuse() bool { return d.refusal != nil }

// KnowsOrigin reports whether the request has an event, whose sender tells the server that it comes from.
func (d *Declaration) KnowsOrigin() bool {
	return d.Options.GetOnFailureFederated() != callbacksv1.OnFailure_ON_FAILURE_UNSPECIFIED
}

// Refused returns a reply that refuses. It panics if the callback cannot; see [Declaration.CanRefuse].
func (d *Declaration) Refused(r *callbacksv1.Refusal) proto.Message {
	reply := d.reply()
	reply.ProtoReflect().Set(d.refusal, protoreflect.ValueOfMessage(r.ProtoReflect()))
	return reply
}

func category(name string, s protoreflect.ServiceDescriptor) *Category {
	options, _ := proto.GetExtension(s.Options(), callbacksv1.E_Category).(*callbacksv1.CategoryOptions)
	return &Category{Name: name, AllOrNone: options.GetAllOrNone(), service: s}
}

func declare[Request, Reply proto.Message](c *Category, name string, method int) Callback[Request, Reply] {
	m := c.service.Methods().Get(method)
	d := &Declaration{
		index:    len(all),
		Category: c,
		Name:     name,
		Options:  proto.GetExtension(m.Options(), callbacksv1.E_Callback).(*callbacksv1.CallbackOptions),
		full:     c.Name + "." + name,
		rpc:      string(m.Name()),
		request:  maker[Request](),
		reply:    maker[Reply](),
		refusal:  m.Output().Fields().ByName("refusal"),
	}
	c.Callbacks = append(c.Callbacks, d)
	all = append(all, d)
	return Callback[Request, Reply]{d}
}

// maker returns a function that makes messages of a type, as new does, which costs less than to go through the type's description.
func maker[Message proto.Message]() func() proto.Message {
	of := reflect.TypeFor[Message]().Elem()
	return func() proto.Message { return reflect.New(of).Interface().(Message) }
}
