package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
)

// askFan is an ask of n modules without an opinion, against as many bare requests sent together.
func askFan(n int) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		names := listed(n)
		h, err := newHomeserver(s, "example.com", names...)
		if err != nil {
			return ours, peer, err
		}
		for _, name := range names {
			if err := h.module(name, answering(abstain)); err != nil {
				return ours, peer, err
			}
		}
		peer, err = fan(s, n)
		return side{1, ask(h, nil)}, peer, err
	}
}

// fan publishes n requests and waits for as many replies, on one subscription.
func fan(s *stage, n int) (side, error) {
	data, err := proto.Marshal(request)
	if err != nil {
		return side{}, err
	}
	for i := range n {
		responder, err := s.connect()
		if err != nil {
			return side{}, err
		}
		if _, err := responder.QueueSubscribe(fanned(i), "g", func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
			return side{}, err
		}
		if err := responder.Flush(); err != nil {
			return side{}, err
		}
	}
	nc, err := s.connect()
	if err != nil {
		return side{}, err
	}
	inbox, replies := nc.NewInbox(), make(chan *nats.Msg, n)
	if _, err := nc.ChanSubscribe(inbox, replies); err != nil {
		return side{}, err
	}
	return side{1, func(ctx context.Context) error {
		for i := range n {
			if err := nc.PublishRequest(fanned(i), inbox, data); err != nil {
				return err
			}
		}
		for range n {
			select {
			case <-replies:
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
				return errors.New("no reply")
			}
		}
		return nil
	}}, nil
}

func fanned(i int) string {
	return fmt.Sprintf("modulebus.example%%2Ecom.cb.spam_checker.user_may_create_room.bare-%d", i)
}

// askBatch asks about 100 events at once, against 100 asks about one each. The module says something of each, or of none.
func askBatch(says bool) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) { return batch(s, says) }
}

func batch(s *stage, says bool) (ours, peer side, err error) {
	const many = 100
	h, err := newHomeserver(s, "example.com", "module")
	if err != nil {
		return ours, peer, err
	}
	events := make([]*callbacksv1.Event, many)
	for i := range events {
		events[i] = &callbacksv1.Event{EventId: fmt.Sprintf("$%d", i), RoomVersion: "10", Json: []byte(`{"type":"m.room.message"}`)}
	}
	of := func(events []*callbacksv1.Event) func(context.Context) error {
		req := &callbacksv1.AddFieldToUnsignedCallbackRequest{Events: events}
		return func(ctx context.Context) error {
			d, err := h.client.AddExtraFieldsToUnsignedClientEvent.AddFieldToUnsignedCallback(ctx, req)
			if err == nil && (len(d.Answer.GetUnsigned()) == len(events)) != says {
				err = errors.New("the answer is not the module's")
			}
			return err
		}
	}
	single := func(ctx context.Context) error {
		for i := range events {
			if err := of(events[i : i+1])(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	return side{1, of(events)}, side{1, single}, h.module("module", adding(says))
}

// adding adds one field to each event, or to none.
func adding(says bool) func(*modulekit.ModuleAPI) {
	add := func(
		_ context.Context, req *callbacksv1.AddFieldToUnsignedCallbackRequest,
	) (*callbacksv1.AddFieldToUnsignedCallbackResponse, error) { //nolint:unparam // it is what a callback returns
		if !says {
			return nil, nil
		}
		reply := &callbacksv1.AddFieldToUnsignedCallbackResponse{Unsigned: map[string]*callbacksv1.UnsignedFields{}}
		for _, e := range req.GetEvents() {
			reply.Unsigned[e.GetEventId()] = &callbacksv1.UnsignedFields{Fields: map[string][]byte{"org.example": []byte("1")}}
		}
		return reply, nil
	}
	return func(api *modulekit.ModuleAPI) {
		api.RegisterAddExtraFieldsToUnsignedClientEventCallbacks(
			modulekit.AddExtraFieldsToUnsignedClientEventCallbacks{AddFieldToUnsignedCallback: add})
	}
}
