package admission

import (
	"context"
	"maps"
	"time"

	"github.com/modulebus/modulebus/internal/busd/broker"
	"github.com/modulebus/modulebus/internal/busd/identity"
)

const (
	// maxUnread is how many bytes the NATS inside busd may hold for the connections of one module, or of the homeserver, that do not take
	// them. Beyond: those that it holds most for are disconnected, and the log says whose they are.
	maxUnread = 128 << 20

	// unreadLook is how often that is looked at. NATS's own limit, 64 MiB, is for each connection.
	unreadLook = 250 * time.Millisecond
)

// relieve disconnects clients that have NATS hold too much, until ctx ends.
func (a *Admission) relieve(ctx context.Context) {
	every(ctx, unreadLook, func(time.Time) { a.cutUnread() })
}

func (a *Admission) cutUnread() {
	for _, c := range a.tooMuch() {
		a.refused.Warn().Stringer("user", c.User).Int("bytes", c.Bytes).
			Msg("disconnected a client that does not take what it is sent: all connections of this user together have NATS hold too much")
		a.Broker.Disconnect(c.ID)
	}
}

// tooMuch returns the connections to disconnect. A user whose requests are turned down is left an eighth.
func (a *Admission) tooMuch() []broker.Unread {
	const less = 8
	a.mu.Lock()
	strained := maps.Clone(a.strained)
	a.mu.Unlock()
	if len(strained) == 0 {
		return excess(a.Broker.Unread(a.Unread), a.Unread)
	}
	var theirs, others []broker.Unread
	for _, c := range a.Broker.Unread(a.Unread / less) {
		if strained[c.User] {
			theirs = append(theirs, c)
		} else {
			others = append(others, c)
		}
	}
	return append(excess(theirs, a.Unread/less), excess(others, a.Unread)...)
}

// userOf returns whose a connection is, if NATS has told of it.
func (a *Admission) userOf(id uint64) (user identity.User, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	user, ok = a.users[id]
	return user, ok
}

// excess returns the connections to disconnect, of users for which NATS holds more than most bytes: those that have at least half of
// what that user's have on average. The others take what they are sent, and there is less than half left.
func excess(all []broker.Unread, most int) (cut []broker.Unread) {
	held, connections := map[identity.User]int{}, map[identity.User]int{}
	for _, c := range all {
		held[c.User] += c.Bytes
		connections[c.User]++
	}
	for _, c := range all {
		if c.User == identity.Busd || c.User == identity.System {
			continue
		}
		if held[c.User] > most && 2*c.Bytes*connections[c.User] >= held[c.User] {
			cut = append(cut, c)
		}
	}
	return cut
}
