package admission

import (
	"context"
	"time"

	"github.com/modulebus/modulebus/internal/busd/identity"
)

const (
	// maxUnread is how many bytes the NATS inside busd may hold for the connections of one module, or of the homeserver, that do not take
	// them. Beyond: those connections are disconnected, and the log says whose they are.
	maxUnread = 128 << 20

	// unreadLook is how often that is looked at. NATS's own limit, 64 MiB, is for each connection.
	unreadLook = 250 * time.Millisecond
)

// relieve disconnects clients that have NATS hold too much, until ctx ends.
func (a *Admission) relieve(ctx context.Context) {
	ticker := time.NewTicker(unreadLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			a.cutUnread()
		}
	}
}

func (a *Admission) cutUnread() {
	all, held := a.Broker.Unread(), map[identity.User]int{}
	for _, c := range all {
		held[c.User] += c.Bytes
	}
	for _, c := range all {
		if held[c.User] <= a.Unread || c.User == identity.Busd || c.User == identity.System {
			continue
		}
		a.refused.Warn().Stringer("user", c.User).Int("bytes", held[c.User]).
			Msg("disconnected a client that does not take what it is sent: all connections of this user together have NATS hold too much")
		a.Broker.Disconnect(c.ID)
	}
}
