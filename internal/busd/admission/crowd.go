package admission

import (
	"context"

	"github.com/modulebus/modulebus/internal/busd/identity"
)

// maxConnections is how many connections may use the credentials of one module; each worker has two. Beyond: the latest
// are disconnected, and the log says whose they are.
const maxConnections = 4096

// arrived counts a connection of a user's key, and reports whether there is room for it.
func (a *Admission) arrived(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.crowds[key]++
	return a.crowds[key] <= a.Connections
}

// note remembers whose a connection to the embedded server is. An external NATS may have several servers, which give connections the same IDs.
func (a *Admission) note(id uint64, user identity.User) {
	if !a.Broker.Embedded() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users[id] = user
}

// disconnected counts a connection that has ended.
func (a *Admission) disconnected(e event) {
	_, key := identity.Shown(e.Client.JWT)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.users, e.Client.ID)
	if a.crowds[key]--; a.crowds[key] <= 0 {
		delete(a.crowds, key)
	}
}

// crowded disconnects a client of a module that has too many connections.
func (a *Admission) crowded(e event, module string) {
	if a.first(module) {
		a.Log.Warn().Str("module", module).Str("host", e.Client.Host).Int("most", a.Connections).
			Msg("a module has too many connections: the latest are disconnected; does it close those that it does not use?")
	}
	a.kick(e)
}

// recount asks NATS how many connections a user has if there seem to be too many: a server that crashed does not report
// the end of its connections.
func (a *Admission) recount(ctx context.Context) {
	for _, key := range a.full() {
		n, err := connectedAs(ctx, a.Broker.System, key)
		if err != nil { // It is asked again in a second.
			continue
		}
		a.mu.Lock()
		a.crowds[key] = n
		a.mu.Unlock()
	}
}

func (a *Admission) full() (keys []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, n := range a.crowds {
		if n > a.Connections {
			keys = append(keys, key)
		}
	}
	return keys
}
