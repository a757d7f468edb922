package broker

import (
	"math"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/internal/busd/identity"
)

// Unread is a connection to the embedded server that does not take what it is sent.
type Unread struct {
	ID    uint64 // of the connection
	User  identity.User
	Bytes int // that the server holds for it
}

// Unread returns the connections for which the embedded server holds something, where that is more than most bytes for all
// together; else none. It returns none of an external NATS, which has limits of its own.
func (b *Broker) Unread(most int) (all []Unread) {
	held := 0
	for _, c := range b.pending(false) {
		held += c.Pending
	}
	if held <= most {
		return nil
	}
	for _, c := range b.pending(true) {
		if c.Pending > 0 {
			user, _ := identity.Shown(c.JWT)
			all = append(all, Unread{c.Cid, user, c.Pending})
		}
	}
	return all
}

// pending returns all connections to the embedded server. With users it takes long: the server checks the signature of each one's token.
func (b *Broker) pending(users bool) server.ConnInfos {
	if b.server == nil {
		return nil
	}
	list, err := b.server.Connz(&server.ConnzOptions{Username: users, Limit: math.MaxInt})
	if err != nil { // It fails for options alone.
		return nil
	}
	return list.Conns
}

// Disconnect ends a connection to the embedded server.
func (b *Broker) Disconnect(id uint64) {
	_ = b.server.DisconnectClientByID(id) // It fails where the connection is gone.
}
