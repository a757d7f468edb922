// Package busopts has the options of package bus that are for this Go module alone. They travel in the context of bus.New,
// so that the public options show nothing that a homeserver cannot use.
package busopts

import (
	"context"

	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// Client says how bus.New makes a client. The zero value is what homeservers get.
type Client struct {
	// Requester replaces NATS: the client asks through it, and has no Module API, files or web resources. It is how
	// package bustest makes a client.
	Requester natsrequest.Requester

	// Roster is what a client with a Requester goes by; it never changes. What it leaves open has the default: [Resolved].
	Roster *rosterv1.Roster

	// NoWait has bus.New not wait for a roster. It is for busd, which makes the roster itself.
	NoWait bool
}

type key struct{}

// With returns a context by which bus.New makes its client as o says.
func With(ctx context.Context, o Client) context.Context {
	if o.Roster != nil {
		o.Roster = Resolved(o.Roster)
	}
	return context.WithValue(ctx, key{}, o)
}

// From returns the options that a context carries: the zero value where it carries none.
func From(ctx context.Context) Client {
	o, _ := ctx.Value(key{}).(Client)
	return o
}
