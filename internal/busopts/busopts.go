// Package busopts has the options of package bus that are for this module alone.
package busopts

import (
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// Client is the internal part of bus.Options. The zero value is what homeservers use.
type Client struct {
	// Requester replaces NATS: the client asks through it, and has no Module API, files or web resources. It is how
	// package bustest makes a client.
	Requester natsrequest.Requester

	// Roster is what a client with a Requester goes by. It never changes.
	Roster *rosterv1.Roster

	// NoWait has bus.New not wait for a roster. It is for busd, which makes the roster itself.
	NoWait bool
}
