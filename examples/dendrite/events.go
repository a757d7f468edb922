package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/matrix-org/dendrite/internal/eventutil"
	"github.com/matrix-org/dendrite/roomserver/api"
	"github.com/matrix-org/dendrite/roomserver/types"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// event is an event as modules get it.
func event(e gomatrixserverlib.PDU) *callbacksv1.Event {
	room := e.RoomID()
	return &callbacksv1.Event{EventId: e.EventID(), RoomVersion: string(e.Version()), Json: e.JSON(), RoomId: room.String()}
}

// stateOf returns a function that fetches the current state of a room, as far as modules need it.
func (r *rooms) stateOf(room string) bus.StateFunc {
	return func(ctx context.Context, filter *rosterv1.StateFilter) ([]*callbacksv1.StateEvent, error) {
		if filter.GetAll() {
			var all api.QueryLatestEventsAndStateResponse
			err := r.QueryLatestEventsAndState(ctx, &api.QueryLatestEventsAndStateRequest{RoomID: room}, &all)
			return stateEvents(all.StateEvents), err
		}
		req := api.QueryCurrentStateRequest{RoomID: room, AllowWildcards: true}
		for _, k := range filter.GetKeys() {
			tuple := gomatrixserverlib.StateKeyTuple{EventType: k.GetType(), StateKey: "*"}
			if k.StateKey != nil {
				tuple.StateKey = k.GetStateKey()
			}
			req.StateTuples = append(req.StateTuples, tuple)
		}
		var some api.QueryCurrentStateResponse
		if err := r.QueryCurrentState(ctx, &req, &some); err != nil {
			return nil, err
		}
		var found []*types.HeaderedEvent
		for _, e := range some.StateEvents {
			found = append(found, e)
		}
		return stateEvents(found), nil
	}
}

func stateEvents(events []*types.HeaderedEvent) (found []*callbacksv1.StateEvent) {
	for _, e := range events {
		if e.StateKey() != nil {
			found = append(found, &callbacksv1.StateEvent{Type: e.Type(), StateKey: *e.StateKey(), Event: event(e)})
		}
	}
	return found
}

// InputRoomEvents implements [api.RoomserverInternalAPI]. Events of clients and of federation come this way; those that the
// room server makes by itself, for a new room, a join, a leave or an invite, do not.
func (r *rooms) InputRoomEvents(ctx context.Context, req *api.InputRoomEventsRequest, res *api.InputRoomEventsResponse) {
	kept, replaced := *req, (*types.HeaderedEvent)(nil)
	kept.InputRoomEvents = nil
	for _, in := range req.InputRoomEvents {
		e, err := r.input(ctx, in, req.Asynchronous)
		switch {
		case err != nil:
			noteSending(ctx, nil, err)
			res.ErrMsg = err.Error()
			return
		case e == nil:
			continue
		case e != in.Event:
			replaced = e
		}
		in.Event = e
		kept.InputRoomEvents = append(kept.InputRoomEvents, in)
	}
	if len(kept.InputRoomEvents) > 0 {
		r.RoomserverInternalAPI.InputRoomEvents(ctx, &kept, res)
	}
	if replaced != nil && res.ErrMsg == "" {
		noteSending(ctx, replaced, nil)
		tellID(ctx, replaced)
	}
}

// sending is what became of an event, for callers of the Module API that send one: Dendrite passes on the text of an error alone.
type sending struct {
	event     *types.HeaderedEvent // that took its place
	objection error
}

type sendingKey struct{}

func noteSending(ctx context.Context, e *types.HeaderedEvent, err error) {
	if s, ok := ctx.Value(sendingKey{}).(*sending); ok {
		s.event, s.objection = e, err
	}
}

// tellID has the client that sent an event told the ID of the one that took its place.
func tellID(ctx context.Context, e gomatrixserverlib.PDU) {
	if x := exchangeOf(ctx); x != nil && (strings.Contains(x.path, "/send/") || strings.Contains(x.path, "/state/")) {
		body, _ := json.Marshal(map[string]string{"event_id": e.EventID()}) // Strings always encode.
		x.tell(http.StatusOK, body)
	}
}

// input returns the event to take in the place of one: itself, another or none.
func (r *rooms) input(ctx context.Context, in api.InputRoomEvent, later bool) (*types.HeaderedEvent, error) {
	if in.Kind != api.KindNew { // The state of a room that is joined has thousands of outliers, which nobody looks at yet.
		return in.Event, nil
	}
	_, sender, err := gomatrixserverlib.SplitID('@', string(in.Event.SenderID()))
	switch {
	case err != nil: // The sender of a room with pseudo IDs.
		sender = in.Origin
	case r.local(sender) && !r.local(in.Origin): // A user of ours has joined through another server: they were asked about.
		return in.Event, nil
	}
	if r.local(sender) {
		return r.made(ctx, in.Event)
	}
	return r.arrived(ctx, in.Event, later)
}

// made asks about an event of a user of ours, in the order of Synapse.
func (r *rooms) made(ctx context.Context, e *types.HeaderedEvent) (*types.HeaderedEvent, error) {
	member := e.Type() == spec.MRoomMember
	if e.StateKey() != nil && !member && !exchangeOf(ctx).admin() {
		d, err := r.modules.SpamChecker.UserMaySendStateEvent(ctx, &callbacksv1.UserMaySendStateEventRequest{
			UserId: string(e.SenderID()), RoomId: event(e).GetRoomId(), EventType: e.Type(), StateKey: *e.StateKey(), Content: e.Content(),
		})
		if o := objected(ctx, d, err); o != nil {
			return nil, o
		}
	}
	room := event(e).GetRoomId()
	d, err := r.modules.ThirdPartyRules.CheckEventAllowed(bus.WithState(ctx, r.stateOf(room)), &callbacksv1.CheckEventAllowedRequest{Event: event(e)})
	if o := objected(ctx, d, err); o != nil {
		return nil, o
	}
	if d.Answer.GetReplacement() != nil {
		if e, err = r.replace(ctx, e, d.Answer.GetReplacement()); err != nil {
			return nil, failed(ctx, err)
		}
	}
	if member {
		return e, nil
	}
	s, err := r.modules.SpamChecker.CheckEventForSpam(ctx, &callbacksv1.CheckEventForSpamRequest{Event: event(e)})
	if o := objected(ctx, s, err); o != nil {
		return nil, o
	}
	return e, nil
}

// replace builds an event with another content.
func (r *rooms) replace(ctx context.Context, e *types.HeaderedEvent, replacement []byte) (*types.HeaderedEvent, error) {
	var changed struct {
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(replacement, &changed); err != nil {
		return nil, err
	}
	room := e.RoomID()
	user, err := r.QueryUserIDForSender(ctx, room, e.SenderID())
	if err != nil {
		return nil, err
	}
	identity, err := r.SigningIdentityFor(ctx, room, *user)
	if err != nil {
		return nil, err
	}
	proto := gomatrixserverlib.ProtoEvent{
		SenderID: string(e.SenderID()), RoomID: room.String(), Type: e.Type(), StateKey: e.StateKey(), Redacts: e.Redacts(),
		Content: spec.RawJSON(changed.Content),
	}
	return eventutil.QueryAndBuildEvent(ctx, &proto, &identity, time.Now(), r, nil)
}

// arrived asks about an event that another server sends. One that is to be dropped is nil; one that is spam loses its content,
// so that the events after it have no hole before them.
func (r *rooms) arrived(ctx context.Context, e *types.HeaderedEvent, later bool) (*types.HeaderedEvent, error) {
	drop, o := r.drop(aside(ctx), e)
	switch {
	case o != nil:
		return nil, o
	case drop && later:
		return nil, nil
	case drop: // Another server waits for it.
		return nil, unwanted(ctx)
	}
	spam, o := r.spam(aside(ctx), e)
	if o != nil {
		return nil, o
	}
	if spam {
		e.Redact()
	}
	return e, nil
}

// unwantedBy reports whether modules drop an event of another server, or take it for spam.
func (r *rooms) unwantedBy(ctx context.Context, e gomatrixserverlib.PDU) (bool, error) {
	drop, o := r.drop(ctx, e)
	if o == nil && !drop {
		drop, o = r.spam(ctx, e)
	}
	if o != nil {
		return false, o
	}
	return drop, nil
}

func (r *rooms) spam(ctx context.Context, e gomatrixserverlib.PDU) (bool, *objection) {
	req := &callbacksv1.CheckEventForSpamRequest{Event: event(e)}
	return refuses[*callbacksv1.CheckEventForSpamResponse](ctx)(r.modules.SpamChecker.CheckEventForSpam(ctx, req))
}

func (r *rooms) drop(ctx context.Context, e gomatrixserverlib.PDU) (bool, *objection) {
	d, err := r.modules.SpamChecker.ShouldDropFederatedEvent(ctx, &callbacksv1.ShouldDropFederatedEventRequest{Event: event(e)})
	return refuses[*callbacksv1.ShouldDropFederatedEventResponse](ctx)(d, err)
}

// refuses reports whether modules refuse what nobody is told their words about.
func refuses[R refusable](ctx context.Context) func(bus.Decision[R], error) (bool, *objection) {
	return func(d bus.Decision[R], err error) (bool, *objection) {
		if err != nil {
			return false, failed(ctx, err)
		}
		return d.Answer.GetRefusal() != nil, nil
	}
}

// unwanted is the objection to what is dropped: nobody is told a module's words.
func unwanted(ctx context.Context) *objection {
	e := matrix.Error{Errcode: matrix.Forbidden, Text: "Forbidden"}
	return object(ctx, http.StatusForbidden, e.Body())
}

// HandleInvite implements [api.RoomserverInternalAPI]: an invite has arrived over federation.
func (r *rooms) HandleInvite(ctx context.Context, e *types.HeaderedEvent) error {
	if drop, o := r.drop(ctx, e); o != nil {
		return o
	} else if drop {
		return unwanted(ctx)
	}
	d, err := r.modules.SpamChecker.FederatedUserMayInvite(ctx, &callbacksv1.FederatedUserMayInviteRequest{Event: event(e)})
	if o := objected(ctx, d, err); o != nil {
		return o
	}
	if o := r.mayInvite(ctx, string(e.SenderID()), *e.StateKey(), event(e).GetRoomId()); o != nil {
		return o
	}
	return r.RoomserverInternalAPI.HandleInvite(ctx, e)
}
