package combine

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Empty reports whether an answer says nothing. Fields that this version does not know say nothing, and neither do those
// that are declared to be aside.
func Empty(answer proto.Message) bool {
	return !slices.ContainsFunc(factsOf(answer).telling, answer.ProtoReflect().Has)
}

// Ends reports whether an answer is the whole decision of a MERGE, whatever others say.
func Ends(answer proto.Message) bool { return factsOf(answer).ends(answer) }

// End makes an answer one that [Ends], where its type can be one.
func End(answer proto.Message) {
	if f := factsOf(answer).final; f != nil {
		answer.ProtoReflect().Set(f, protoreflect.ValueOfBool(true))
	}
}

// Refuses reports whether an answer is a refusal.
func Refuses(answer proto.Message) bool { return isRefusal(answer) }

func isRefusal(answer proto.Message) bool {
	r, ok := answer.(interface{ GetRefusal() *callbacksv1.Refusal })
	return ok && r.GetRefusal() != nil
}

// facts are what has to be known of a type of answers.
type facts struct {
	telling []protoreflect.FieldDescriptor // which say something
	final   protoreflect.FieldDescriptor   // which ends a MERGE; nil for none
	lists   bool                           // whether there are any, in which a module may have said something twice
}

var known sync.Map // protoreflect.MessageDescriptor → *facts; as many as message types

func factsOf(answer proto.Message) *facts {
	md := answer.ProtoReflect().Descriptor()
	f, ok := known.Load(md)
	if !ok {
		f, _ = known.LoadOrStore(md, learn(md))
	}
	return f.(*facts)
}

func learn(md protoreflect.MessageDescriptor) *facts {
	learned := &facts{lists: holdsLists(md, map[protoreflect.FullName]bool{})}
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		if !marked(f, callbacksv1.E_Aside) {
			learned.telling = append(learned.telling, f)
		}
		if marked(f, callbacksv1.E_Final) {
			learned.final = f
		}
	}
	return learned
}

func marked(f protoreflect.FieldDescriptor, option protoreflect.ExtensionType) bool {
	return f.Options() != nil && proto.GetExtension(f.Options(), option).(bool)
}

// ends reports whether the answer sets a field that ends a MERGE.
func (f *facts) ends(answer proto.Message) bool {
	return f.final != nil && answer.ProtoReflect().Has(f.final)
}

func holdsLists(md protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[md.FullName()] {
		return false
	}
	seen[md.FullName()] = true
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		if f.IsList() || f.Message() != nil && holdsLists(f.Message(), seen) {
			return true
		}
	}
	return false
}

// unite adds what src says to dst: lists are sets, map entries of messages are united by key, and of all else the later
// wins. It differs from [proto.Merge], which repeats what is in both lists and replaces map entries.
func unite(dst, src protoreflect.Message) {
	src.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList():
			uniteLists(dst.Mutable(f).List(), v.List())
		case f.IsMap():
			uniteMaps(f, dst.Mutable(f).Map(), v.Map())
		case f.Message() != nil:
			unite(dst.Mutable(f).Message(), v.Message())
		default:
			dst.Set(f, v)
		}
		return true
	})
}

func uniteMaps(f protoreflect.FieldDescriptor, dst, src protoreflect.Map) {
	src.Range(func(key protoreflect.MapKey, v protoreflect.Value) bool {
		if f.MapValue().Message() != nil {
			unite(dst.Mutable(key).Message(), v.Message())
		} else {
			dst.Set(key, v)
		}
		return true
	})
}

func uniteLists(dst, src protoreflect.List) {
	seen := make(map[any]bool, dst.Len()+src.Len())
	for i := range dst.Len() {
		seen[identity(dst.Get(i))] = true
	}
	for i := range src.Len() {
		if id := identity(src.Get(i)); !seen[id] {
			seen[id] = true
			dst.Append(src.Get(i))
		}
	}
}

// identity is equal for equal values.
func identity(v protoreflect.Value) any {
	switch v := v.Interface().(type) {
	case protoreflect.Message:
		raw, _ := proto.MarshalOptions{Deterministic: true}.Marshal(v.Interface()) // What was unmarshalled can be.
		return string(raw)
	case []byte:
		return string(v)
	default:
		return v
	}
}

// replace returns the request with what the answer says of fields that both have.
func replace(request, answer proto.Message) proto.Message {
	next := proto.Clone(request).ProtoReflect()
	answer.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if g := next.Descriptor().Fields().ByName(f.Name()); g != nil && g.Kind() == f.Kind() && !f.IsList() && !f.IsMap() {
			next.Set(g, v)
		}
		return true
	})
	return next.Interface()
}
