package modulekit

import (
	"context"
	"encoding/json"

	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
)

// SendNotice sends a text for people into a room, as an m.room.message of the type m.notice, which bots do not answer.
// The sender must be a local user who is in the room. The module needs the scope rooms.send. In all else it behaves as
// [ModuleAPI.CreateAndSendEventIntoRoom] does.
func (api *ModuleAPI) SendNotice(ctx context.Context, roomID, sender, text string) error {
	event, err := json.Marshal(map[string]any{
		"type": "m.room.message", "room_id": roomID, "sender": sender, "content": map[string]string{"msgtype": "m.notice", "body": text},
	})
	if err != nil {
		return err
	}
	_, err = api.CreateAndSendEventIntoRoom(ctx, &moduleapiv1.CreateAndSendEventIntoRoomRequest{EventDict: event})
	return err
}
