package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
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
	req = a.plan.callback.Narrow(req, s.needs)
	if a.plan.callback.File != nil {
		req = a.withFile(s, req)
	}
	return req
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
	out := declared.Shallow(req, a.plan.callback.File)
	out.Set(a.plan.callback.File, protoreflect.ValueOfMessage(wrapper.ProtoReflect()))
	return out.Interface()
}

// originOf returns the origin that follows from the sender of the request's event.
func originOf(req proto.Message, serverName string) Origin {
	r, ok := req.(interface{ GetEvent() *callbacksv1.Event })
	if !ok { // Checked first, because what follows allocates.
		return OriginUnknown
	}
	var sender string
	if json.Unmarshal(wire.Member(r.GetEvent().GetJson(), "sender"), &sender) != nil {
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
