package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// fetchState returns the request with the room state that modules need.
func (p *plan) fetchState(ctx context.Context, req proto.Message) (proto.Message, error) {
	f := p.callback.State
	if f == nil || p.state == nil || req.ProtoReflect().Has(f) {
		return req, nil
	}
	fetch, ok := ctx.Value(stateKey{}).(StateFunc)
	if !ok {
		return req, nil
	}
	events, err := fetch(ctx, p.state)
	if err != nil {
		return nil, fmt.Errorf("bus: %s: cannot fetch the room's state: %w", p.callback.FullName(), err)
	}
	req = proto.Clone(req)
	list := req.ProtoReflect().Mutable(f).List()
	for _, e := range events {
		list.Append(protoreflect.ValueOfMessage(e.ProtoReflect()))
	}
	return req, nil
}

// shape returns the request as the module gets it: with the state that it needs, the fields that it registered for,
// and the file.
func (a *asking) shape(s *step, req proto.Message) proto.Message {
	d := a.plan.callback
	if d.State == nil && d.Keyed == nil && d.File == nil {
		return req
	}
	if d.State != nil {
		req = s.onlyState(req, d.State)
	}
	if d.Keyed != nil {
		req = s.onlyFields(req, d.Key, d.Keyed)
	}
	if d.File != nil {
		req = a.withFile(s, req)
	}
	return req
}

func (s *step) onlyState(req proto.Message, f protoreflect.FieldDescriptor) proto.Message {
	filter := s.needs.GetState()
	if filter.GetAll() || !req.ProtoReflect().Has(f) {
		return req
	}
	out := shallow(req, f)
	list := out.Mutable(f).List()
	for i, all := 0, req.ProtoReflect().Get(f).List(); i < all.Len(); i++ {
		if e := all.Get(i).Message().Interface().(*callbacksv1.StateEvent); matches(filter, e) {
			list.Append(all.Get(i))
		}
	}
	return out.Interface()
}

// shallow copies a message without one field. The values are shared.
func shallow(req proto.Message, without protoreflect.FieldDescriptor) protoreflect.Message {
	out := req.ProtoReflect().New()
	req.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f != without {
			out.Set(f, v)
		}
		return true
	})
	return out
}

func matches(filter *rosterv1.StateFilter, e *callbacksv1.StateEvent) bool {
	return slices.ContainsFunc(filter.GetKeys(), func(k *rosterv1.StateKey) bool {
		return k.GetType() == e.GetType() && (k.StateKey == nil || k.GetStateKey() == e.GetStateKey())
	})
}

// onlyFields leaves out the members of the keyed object that the module did not register for, so that it does not
// see them.
func (s *step) onlyFields(req proto.Message, key, keyed protoreflect.FieldDescriptor) proto.Message {
	k := s.keyOf(req.ProtoReflect().Get(key).String())
	var all map[string]json.RawMessage
	if json.Unmarshal(req.ProtoReflect().Get(keyed).Bytes(), &all) != nil {
		all = nil // An object that cannot be read goes to no module.
	}
	only := map[string]json.RawMessage{}
	for _, name := range k.GetFields() {
		if value, ok := all[name]; ok {
			only[name] = value
		}
	}
	raw, _ := json.Marshal(only) // It is made of JSON.
	out := shallow(req, keyed)
	out.Set(keyed, protoreflect.ValueOfBytes(raw))
	return out.Interface()
}

// withFile returns the request with a subject on which this module alone can read the file.
func (a *asking) withFile(s *step, req proto.Message) proto.Message {
	f, ok := a.ctx.Value(fileKey{}).(file)
	if !ok || a.client.files == nil {
		return req
	}
	subject, closeFile := a.client.files.open(s.module, f.content)
	a.files = append(a.files, closeFile)
	wrapper := &callbacksv1.FileWrapper{Subject: subject}
	if f.size >= 0 {
		wrapper.Size = &f.size
	}
	out := shallow(req, a.plan.callback.File)
	out.Set(a.plan.callback.File, protoreflect.ValueOfMessage(wrapper.ProtoReflect()))
	return out.Interface()
}

// originOf returns the origin that follows from the sender of the request's event.
func originOf(req proto.Message, serverName string) Origin {
	r, ok := req.(interface{ GetEvent() *callbacksv1.Event })
	if !ok { // Checked first, because what follows allocates.
		return OriginUnknown
	}
	var event map[string]json.RawMessage // encoding/json would read SENDER into a struct's field for sender.
	var sender string
	if json.Unmarshal(r.GetEvent().GetJson(), &event) != nil || json.Unmarshal(event["sender"], &sender) != nil {
		return OriginUnknown
	}
	switch _, server, found := strings.Cut(sender, ":"); {
	case !found:
		return OriginUnknown
	case server != serverName:
		return OriginFederated
	}
	return OriginLocal
}
