package main

import (
	"context"
	"encoding/json"

	federation "github.com/matrix-org/dendrite/federationapi/api"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/fclient"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

// fetched is the federation that the room server gets: it asks about the events that the room server fetches from other
// servers, which do not come by way of InputRoomEvents. What was dropped would come back that way, when a later event names it.
type fetched struct {
	federation.RoomserverFederationAPI

	rooms *rooms
}

// LookupMissingEvents implements [federation.RoomserverFederationAPI].
func (f fetched) LookupMissingEvents(
	ctx context.Context, origin, server spec.ServerName, room string, missing fclient.MissingEvents, version gomatrixserverlib.RoomVersion,
) (fclient.RespMissingEvents, error) {
	res, err := f.RoomserverFederationAPI.LookupMissingEvents(ctx, origin, server, room, missing, version)
	for i := 0; err == nil && i < len(res.Events); i++ {
		res.Events[i], err = f.rooms.fetch(ctx, res.Events[i])
	}
	return res, err
}

// GetEvent implements [federation.RoomserverFederationAPI].
func (f fetched) GetEvent(ctx context.Context, origin, server spec.ServerName, id string) (gomatrixserverlib.Transaction, error) {
	return f.transaction(ctx)(f.RoomserverFederationAPI.GetEvent(ctx, origin, server, id))
}

// Backfill implements [federation.RoomserverFederationAPI].
func (f fetched) Backfill(
	ctx context.Context, origin, server spec.ServerName, room string, limit int, from []string,
) (gomatrixserverlib.Transaction, error) {
	return f.transaction(ctx)(f.RoomserverFederationAPI.Backfill(ctx, origin, server, room, limit, from))
}

func (f fetched) transaction(ctx context.Context) func(gomatrixserverlib.Transaction, error) (gomatrixserverlib.Transaction, error) {
	return func(t gomatrixserverlib.Transaction, err error) (gomatrixserverlib.Transaction, error) {
		for i := 0; err == nil && i < len(t.PDUs); i++ {
			var pdu spec.RawJSON
			pdu, err = f.rooms.fetch(ctx, spec.RawJSON(t.PDUs[i]))
			t.PDUs[i] = json.RawMessage(pdu)
		}
		return t, err
	}
}
