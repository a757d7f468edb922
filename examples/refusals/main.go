// Command refusals is an example of a module that reads decisions: it posts what modules refuse into a room of moderators.
// The operator grants it decisions.read and rooms.send.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
)

type config struct {
	Room      string   `json:"room"`
	Sender    string   `json:"sender"`    // a local user who is in the room
	Callbacks []string `json:"callbacks"` // whose refusals are posted; not those that its own posts may meet
}

func main() { modulekit.Main(module) }

var module = modulekit.Module[config]{Version: "1.0.0", New: func(c config, api *modulekit.ModuleAPI) error {
	api.ReadDecisions(func(ctx context.Context, b *decision.Batch) error {
		for _, d := range b.Decisions {
			if d.Outcome != decision.Refused || !slices.Contains(c.Callbacks, d.Callback) {
				continue
			}
			text := fmt.Sprintf("%s was refused by %s: busd explain %s", d.Callback, d.DecidedBy, d.ID)
			event, err := json.Marshal(map[string]any{
				"type": "m.room.message", "room_id": c.Room, "sender": c.Sender, "content": map[string]string{"msgtype": "m.notice", "body": text},
			})
			if err != nil {
				return err
			}
			if _, err := api.CreateAndSendEventIntoRoom(ctx, &moduleapiv1.CreateAndSendEventIntoRoomRequest{EventDict: event}); err != nil {
				return err
			}
		}
		return nil
	})
	return nil
}}
