// Command refusals is an example of a module that reads decisions: it posts what modules refuse into a room of moderators.
// The operator grants it decisions.read and rooms.send.
package main

import (
	"context"
	"errors"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/modulekit"
)

type config struct {
	Room, Sender string   // the sender is a local user who is in the room
	Callbacks    []string // whose refusals are posted; not those that its own posts may meet
}

func main() { modulekit.Main(modulekit.Module[config]{Version: "1.0.0", New: start}) }

func start(c config, api *modulekit.ModuleAPI) error {
	api.ReadDecisions(func(ctx context.Context, b *decision.Batch) (err error) {
		for _, d := range b.Refusals(c.Callbacks...) {
			text := d.Callback + " was refused by " + d.DecidedBy + ": busd explain " + d.ID
			err = errors.Join(err, api.SendNotice(ctx, c.Room, c.Sender, text))
		}
		return err
	})
	return nil
}
