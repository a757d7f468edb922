package modulekit

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// answering returns the module with more callbacks than New registers.
func (m Module[C]) answering(answers map[*subjects.Declaration]kitopts.Answer) Module[C] {
	construct := m.New
	m.New = func(c C, api *ModuleAPI) error {
		for d, answer := range answers {
			api.register(d.Category, []handler{{callback: d, call: answer}})
		}
		return construct(c, api)
	}
	return m
}

// detach constructs a module that is not connected to a bus, and passes it to the test.
func detach[C any](m Module[C], o Options, internal kitopts.Module) error {
	i, err := build(m, o, internal.Host, &rosterv1.Entry{Config: internal.Config})
	if err == nil {
		internal.Constructed(i.api.constructed())
	}
	return err
}

// constructed is the module as a test asks it.
func (api *ModuleAPI) constructed() kitopts.Constructed {
	c := kitopts.Constructed{Ask: api.ask, Web: api.web}
	for _, d := range subjects.All() {
		if api.handlers[d].call != nil {
			c.Callbacks = append(c.Callbacks, d)
		}
	}
	if api.read != nil {
		c.Read = func(ctx context.Context, b *decision.Batch) error { return api.read.handOver(ctx, b, api.Log()) }
	}
	for _, l := range api.loops {
		c.Loops = append(c.Loops, kitopts.Loop{Every: l.every, All: l.all, Call: func(ctx context.Context) { l.call(ctx, api.Log()) }})
	}
	return c
}

// ask asks the module as a bus would: with no more of the request than it registered for.
func (api *ModuleAPI) ask(ctx context.Context, d *subjects.Declaration, req proto.Message) (proto.Message, error) {
	h := api.handlers[d]
	if h.call == nil {
		return nil, nil
	}
	data, err := wire.Encode(declared.Of(d).Narrow(req, api.needsOf(d, h)), wire.Binary)
	if err != nil {
		return nil, err
	}
	data, failed := h.handle(ctx, data, wire.Binary, api.Log())
	if failed != nil {
		return nil, (*Failure)(failed)
	}
	if len(data) == 0 {
		return nil, nil
	}
	reply := d.NewReply()
	return reply, wire.Decode(data, wire.Binary, reply)
}
