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
	user, ok := userOf(e)
	module, isModule := user.Module()
	if !ok || !isModule {
		return
	}
	listed := a.names()
	if !a.arrived(e) {
		a.crowded(e, module)
		return
	}
	if !slices.Contains(listed, module) {
		a.tellAgain() // The module is now known to have credentials.
		return
	}
	other := shownAs(e.Client.Name, module, listed)
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
	case isModule && !slices.Contains(a.names(), module):
		line.Msg("NATS turned away a module that is not listed: add it to modules in busd.yaml, or stop it")
	default:
		line.Msg("NATS turned away a client whose credentials were replaced: give it what \"busd credentials\" prints now")
	}
}

// key is the public key of the user; empty for one without credentials.
func (e *event) key() string {
	claims, err := jwt.DecodeUserClaims(e.Client.JWT)
	if err != nil {
		return ""
	}
	return claims.Subject
}

// userOf returns the user that the client's credentials name. It does not check their signature.
func userOf(e event) (identity.User, bool) {
	claims, err := jwt.DecodeUserClaims(e.Client.JWT)
	if err != nil {
		return identity.User{}, false
	}
	return identity.Named(claims.Name), true
}

// shownAs returns the other listed module whose name a client of this module uses; empty if it uses none. Workers call
// themselves module/worker.
func shownAs(shown, module string, listed []string) string {
	is := func(name string) bool { return shown == name || strings.HasPrefix(shown, name+"/") }
	i := slices.IndexFunc(listed, is)
	if i < 0 || is(module) {
		return ""
	}
	return listed[i]
}

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
