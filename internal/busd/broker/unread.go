package broker

import (
	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/internal/busd/identity"
)

// Unread is a connection to the embedded server that does not take what it is sent.
type Unread struct {
	ID    uint64 // of the connection
	User  identity.User
	Bytes int // that the server holds for it
}

// Unread returns the connections for which the embedded server holds something, at most 1024 with the most first. It returns none
// of an external NATS, which has limits of its own.
func (b *Broker) Unread() (all []Unread) {
	if b.server == nil {
		return nil
	}
	list, err := b.server.Connz(&server.ConnzOptions{Sort: server.ByPending, Username: true, Limit: server.DefaultConnListSize})
	if err != nil { // It fails for options alone.
		return nil
	}
	for _, c := range list.Conns {
		if c.Pending > 0 {
			user, _ := identity.Shown(c.JWT)
			all = append(all, Unread{c.Cid, user, c.Pending})
		}
	}
	return all
}

// Disconnect ends a connection to the embedded server.
func (b *Broker) Disconnect(id uint64) {
	_ = b.server.DisconnectClientByID(id) // It fails where the connection is gone.
}
