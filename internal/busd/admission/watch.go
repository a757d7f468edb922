package admission

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/busd/identity"
)

// maxWarned is how many wrong names are remembered, so that each is logged once. Beyond: they are not logged.
const maxWarned = 1024

// event is a server's report of a client, in the system account.
type event struct {
	Server struct {
		ID string `json:"id"`
	} `json:"server"`
	Client struct {
		ID   uint64 `json:"id"`
		Host string `json:"host"`
		Name string `json:"name"` // as it calls itself
		JWT  string `json:"jwt"`
	} `json:"client"`
	Reason string `json:"reason"`
}

func (a *Admission) listen() error {
	account, err := a.Keys.Account(nil)
	if err != nil {
		return err
	}
	for subject, handle := range map[string]func(event){
		"$SYS.ACCOUNT." + account.ID + ".CONNECT":    a.connected,
		"$SYS.ACCOUNT." + account.ID + ".DISCONNECT": a.disconnected,
		"$SYS.SERVER.*.CLIENT.AUTH.ERR":              a.turnedAway,
	} {
		sub, err := a.Broker.System.Subscribe(subject, func(m *nats.Msg) {
			var e event
			if json.Unmarshal(m.Data, &e) == nil { // A server of another version may send something else.
				handle(e)
			}
		})
		if err != nil {
			return fmt.Errorf("cannot watch who connects to NATS: %w", err)
		}
		a.subs = append(a.subs, sub)
	}
	return a.Broker.System.Flush()
}

// connected disconnects a client that uses the name of another module, or that connected before NATS knew that its module is not
// listed.
func (a *Admission) connected(e event) {
	user, key := identity.Shown(e.Client.JWT)
	a.note(e.Client.ID, user)
	module, isModule := user.Module()
	if !isModule {
		return
	}
	if !a.arrived(key) {
		a.crowded(e, module)
		return
	}
	if !a.lets(module) {
		a.tellAgain() // The module is now known to have credentials.
		return
	}
	if is(e.Client.Name, module) {
		return
	}
	other := a.shownAs(e.Client.Name)
	if other == "" {
		return
	}
	if a.first(module + "\x00" + other) {
		a.Log.Warn().Str("module", module).Str("shown", other).Str("host", e.Client.Host).
			Msg("disconnected a client that shows another module's name than its credentials: is its credentials file the right one?")
	}
	a.kick(e)
}

// kick disconnects a client. A server ignores the request unless it has a reply subject.
func (a *Admission) kick(e event) {
	system := a.Broker.System
	request, _ := json.Marshal(map[string]uint64{"cid": e.Client.ID}) // It cannot fail.
	if err := system.PublishRequest("$SYS.REQ.SERVER."+e.Server.ID+".KICK", system.NewInbox(), request); err != nil {
		a.refused.Error().Err(err).Msg("cannot disconnect a client")
	}
}

// turnedAway logs a refused connection, a few lines a second at most.
func (a *Admission) turnedAway(e event) {
	line := a.refused.Warn().Str("host", e.Client.Host).Str("client", shorten(e.Client.Name))
	user, ok := userOf(e)
	if !ok {
		line.Msg("NATS turned away a client without credentials: \"busd credentials\" prints them")
		return
	}
	claims, _ := jwt.DecodeUserClaims(e.Client.JWT) // It was decoded before.
	module, isModule := user.Module()
	line = line.Stringer("user", user)
	switch {
	case !a.Keys.Issued(claims):
		line.Msg("NATS turned away a client with credentials of another bus")
	case isModule && !a.lets(module):
		line.Msg("NATS turned away a module that is not listed: add it to modules in busd.yaml, or stop it")
	default:
		line.Msg("NATS turned away a client whose credentials were replaced: give it what \"busd credentials\" prints now")
	}
}

// userOf returns the user that the credentials of a refused client name.
func userOf(e event) (identity.User, bool) {
	claims, err := jwt.DecodeUserClaims(e.Client.JWT)
	if err != nil {
		return identity.User{}, false
	}
	return identity.Named(claims.Name), true
}

// shownAs returns the module whose name a client uses; empty if it uses none that is let in.
func (a *Admission) shownAs(shown string) string {
	names := a.names()
	if i := slices.IndexFunc(names, func(name string) bool { return is(shown, name) }); i >= 0 {
		return names[i]
	}
	return ""
}

// is reports whether a client that calls itself so uses the name of the module. Workers call themselves module/worker.
func is(shown, module string) bool { return shown == module || strings.HasPrefix(shown, module+"/") }

// first reports whether it is called with the text for the first time.
func (a *Admission) first(what string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.warned[what] || len(a.warned) >= maxWarned {
		return false
	}
	a.warned[what] = true
	return true
}

// shorten cuts the name that a client gives itself, so that it cannot fill the log.
func shorten(text string) string {
	const longest = 128
	return text[:min(len(text), longest)]
}
