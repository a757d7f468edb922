package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/matrix-org/dendrite/roomserver/api"
	"github.com/matrix-org/dendrite/setup/config"
	"github.com/matrix-org/dendrite/setup/jetstream"
	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"
)

// newsTime is how long modules may take to hear of one event.
const newsTime = 30 * time.Second

// tellNews tells modules of each event that Dendrite has taken, until ctx ends. It reads the stream that Dendrite's own
// components read, one event after the other; what comes while it is away is there when it is back.
func (r *rooms) tellNews(ctx context.Context, js nats.JetStreamContext, cfg *config.Dendrite) error {
	return jetstream.JetStreamConsumer(
		ctx, js, cfg.Global.JetStream.Prefixed(jetstream.OutputRoomEvent), cfg.Global.JetStream.Durable("ModulesRoomServerConsumer"), 1,
		func(ctx context.Context, messages []*nats.Msg) bool { return r.told(ctx, messages[0]) },
		nats.DeliverNew(), nats.ManualAck(),
	)
}

// told reports whether a message needs not come again.
func (r *rooms) told(ctx context.Context, m *nats.Msg) bool {
	if api.OutputType(m.Header.Get(jetstream.RoomEventType)) != api.OutputTypeNewRoomEvent || !r.modules.Wants(subjects.OnNewEvent) {
		return true
	}
	var output api.OutputEvent
	if err := json.Unmarshal(m.Data, &output); err != nil || output.NewRoomEvent == nil {
		logrus.WithError(err).Error("cannot read an event of the room server")
		return true
	}
	bounded, cancel := context.WithTimeout(ctx, newsTime)
	defer cancel()
	e := event(output.NewRoomEvent.Event)
	_, err := r.modules.ThirdPartyRules.OnNewEvent(bus.WithState(bounded, r.stateOf(e.GetRoomId())), &callbacksv1.OnNewEventRequest{Event: e})
	if err != nil {
		logrus.WithError(err).WithField("event_id", e.GetEventId()).Error("telling modules of an event failed")
	}
	return ctx.Err() == nil // While Dendrite ends, somebody may not have been told.
}
