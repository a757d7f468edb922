package modulekit

import (
	"context"
	"encoding/json"

	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
)

// SendNotice sends a message for people into a room: an m.room.message of the type m.notice, which bots do not answer. The sender is a
// local user who is in the room. It needs the scope rooms.send, and behaves as [ModuleAPI.CreateAndSendEventIntoRoom] does otherwise.
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
