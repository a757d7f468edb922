package declared

import (
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// Narrow returns the request as a module with these needs gets it: with the state events that it selected, and the members of the
// keyed object that it registered for. It does not change req; the values are shared.
func (v *View) Narrow(req proto.Message, needs *rosterv1.Needs) proto.Message {
	if v.State != nil {
		req = onlyState(req, v.State, needs.GetState())
	}
	if v.Keyed != nil {
		req = onlyFields(req, v.Keyed, KeyOf(needs, req.ProtoReflect().Get(v.Key).String()))
	}
	return req
}

// KeyOf returns what a module registered for a value of the key; nil if it did not register for it.
func KeyOf(needs *rosterv1.Needs, value string) *rosterv1.Key {
	for _, k := range needs.GetKeys() {
		if k.GetValue() == value {
			return k
		}
	}
	return nil
}

func onlyState(req proto.Message, f protoreflect.FieldDescriptor, filter *rosterv1.StateFilter) proto.Message {
	if filter.GetAll() || !req.ProtoReflect().Has(f) {
		return req
	}
	out := Shallow(req, f)
	list := out.Mutable(f).List()
	for i, all := 0, req.ProtoReflect().Get(f).List(); i < all.Len(); i++ {
		if e := all.Get(i).Message().Interface().(*callbacksv1.StateEvent); matches(filter, e) {
			list.Append(all.Get(i))
		}
	}
	return out.Interface()
}

func matches(filter *rosterv1.StateFilter, e *callbacksv1.StateEvent) bool {
	return slices.ContainsFunc(filter.GetKeys(), func(k *rosterv1.StateKey) bool {
		return k.GetType() == e.GetType() && (k.StateKey == nil || k.GetStateKey() == e.GetStateKey())
	})
}

// onlyFields leaves out the members of the keyed object that the module did not register for, so that it does not see them. It leaves
// out all of an object that cannot be read.
func onlyFields(req proto.Message, keyed protoreflect.FieldDescriptor, k *rosterv1.Key) proto.Message {
	var all map[string]json.RawMessage
	if json.Unmarshal(req.ProtoReflect().Get(keyed).Bytes(), &all) != nil {
		all = nil
	}
	only := map[string]json.RawMessage{}
	for _, name := range k.GetFields() {
		if value, ok := all[name]; ok {
			only[name] = value
		}
	}
	raw, _ := json.Marshal(only) // It is made of JSON.
	out := Shallow(req, keyed)
	out.Set(keyed, protoreflect.ValueOfBytes(raw))
	return out.Interface()
}

// Shallow copies a message without one field. The values are shared.
func Shallow(req proto.Message, without protoreflect.FieldDescriptor) protoreflect.Message {
	out := req.ProtoReflect().New()
	req.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f != without {
			out.Set(f, v)
		}
		return true
	})
	return out
}
