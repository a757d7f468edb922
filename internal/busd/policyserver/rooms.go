package policyserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// maxRooms is how many rooms are remembered. Beyond: the oldest is forgotten.
	maxRooms = 10000

	// maxRoomCalls is how many rooms are looked up at once. Beyond: they wait.
	maxRoomCalls = 64

	// roomTime is how long the homeserver may take to answer about a room. Beyond: the event is refused.
	roomTime = 5 * time.Second

	roomFor    = 5 * time.Minute // until a room of ours is looked up again
	strangeFor = 5 * time.Second // until a room that is not ours is
)

// room is what the homeserver knows of a room.
type room struct {
	version string // empty for a room that the homeserver does not know, or that another policy server is for
	err     error  // why that is not known
}

type rooms struct {
	*memo[string, room]
	server string
	call   bus.CallFunc // nil where there is no Module API
}

func newRooms(server string, call bus.CallFunc) rooms {
	return rooms{newMemo[string, room](maxRooms, maxRoomCalls, roomTime), server, call}
}

// of returns what is known of a room.
func (s rooms) of(ctx context.Context, id string) (room, error) {
	r, err := s.get(ctx, id, func(ctx context.Context) (room, time.Duration) {
		r := s.look(ctx, id)
		switch {
		case r.err != nil:
			return r, 0
		case r.version == "":
			return r, strangeFor
		}
		return r, roomFor
	})
	if err != nil {
		return r, err
	}
	return r, r.err
}

// policyTypes are the types of events that name a room's policy server, in order of precedence.
var policyTypes = []string{"m.room.policy", "org.matrix.msc4284.policy"}

func (s rooms) look(ctx context.Context, id string) room {
	if s.call == nil {
		return room{}
	}
	req := &moduleapiv1.GetRoomStateRequest{RoomId: id}
	for _, kind := range append([]string{"m.room.create"}, policyTypes...) {
		req.EventFilter = append(req.EventFilter, &moduleapiv1.StateEventType{Type: kind, StateKey: new("")})
	}
	reply, err := s.call(ctx, subjects.APIGetRoomState.Method, req)
	if e, ok := errors.AsType[*bus.MatrixError](err); ok && (e.Status == http.StatusNotFound || e.Status == http.StatusForbidden) {
		return room{}
	}
	if err != nil {
		return room{err: err}
	}
	state, ok := reply.(*moduleapiv1.GetRoomStateResponse)
	if !ok {
		return room{err: errors.New("the Module API replied with something else")}
	}
	return understand(s.server, state)
}

// understand reads a room's state. A room that names no policy server yet counts as ours, because the server that asks
// may have received the event that names us before our homeserver did.
func understand(server string, state *moduleapiv1.GetRoomStateResponse) room {
	contents := map[string]json.RawMessage{}
	for _, e := range state.GetState() {
		var event struct {
			Content json.RawMessage `json:"content"`
		}
		if e.GetStateKey() == "" && json.Unmarshal(e.GetEvent().GetJson(), &event) == nil {
			contents[e.GetType()] = event.Content
		}
	}
	for _, kind := range policyTypes {
		var named struct {
			Via string `json:"via"`
		}
		if json.Unmarshal(contents[kind], &named) == nil && named.Via != "" {
			if named.Via != server {
				return room{}
			}
			break
		}
	}
	return room{version: versionOf(contents["m.room.create"])}
}

// versionOf returns the room version in the content of m.room.create; empty without content.
func versionOf(create json.RawMessage) string {
	var content struct {
		RoomVersion string `json:"room_version"`
	}
	if len(create) == 0 || json.Unmarshal(create, &content) != nil {
		return ""
	}
	if content.RoomVersion == "" {
		return "1" // The version of rooms that are older than versions.
	}
	return content.RoomVersion
}
