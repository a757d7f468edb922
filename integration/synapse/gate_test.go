//go:build integration

package synapse_test

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// gate is a Synapse behind which things go wrong that must let nobody through.
type gate struct {
	*stage
	relay       *relay
	port        int
	state, more string // busd's state_dir, and what its configuration of the module has, too
	callbacks   string // that are named in busd.yaml
}

func openGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{stage: &stage{s: prepareSynapse(t)}, port: testbed.FreePort(t)}
	g.files(t)
	g.says(t, nil)
	g.restart(t)
	g.relay = startRelay(t, g.d.URL)
	g.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: %q, on_failure: {user_may_create_room: skip, check_event_allowed: skip}}`, g.relay.URL), "")
	g.s.start(t)
	g.alice = g.s.register(t, "alice", false)
	return g
}

// says has the module refuse rooms with "refused" in what is asked, beside what else it says.
func (g *gate) says(t *testing.T, more map[string]string) {
	t.Helper()
	entries := map[string]string{"user_may_create_room": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`}
	maps.Copy(entries, more)
	g.say(t, entries)
}

// config is busd's. All of a room's state goes along with each event.
func (g *gate) config(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf(`
server_name: "%s"
state_dir: "%s"
http: {listen: "127.0.0.1:%d"}
modules:
  - module: scripted
    run: [%s]
    config: {script: "%s", record: "%s", all_state: true, register: [user_may_create_room, check_event_allowed, check_login_for_spam],
             login_types: {m.login.password: [password]}%s}
    on_failure: refuse
    callbacks: {check_event_allowed: {on_failure: skip}%s}
`, g.s.name, g.state, g.port, testbed.Program(t, scripted), g.script, g.record, g.more, g.callbacks)
}

// restart stops busd and starts it with a state_dir of its own, unless that is kept.
func (g *gate) restart(t *testing.T) {
	t.Helper()
	if g.d != nil {
		g.d.Stop()
	}
	if g.state == "" {
		g.state = t.TempDir()
	}
	g.d = testbed.Serve(t, g.config(t))
}

func (g *gate) create(t *testing.T, name string) string {
	t.Helper()
	return g.alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": name}).String()
}

func (g *gate) outages() int { return strings.Count(g.s.log.String(), "until it is back") }

func (g *gate) wants(t *testing.T, what, want, got string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: the client saw %s, want %s", what, got, want)
	}
}

// TestSynapseGateStaysShut plays what has let users through, or locked all out, beside a real Synapse.
//
//nolint:paralleltest // Its scenes play on one stage.
func TestSynapseGateStaysShut(t *testing.T) {
	g := openGate(t)
	for _, scene := range []struct {
		name string
		play func(*testing.T, *gate)
	}{
		{"with a number that is infinite in Python", infiniteNumber},
		{"with half a character in a login", halfACharacter},
		{"with a room whose state is larger than a message", largeState},
		{"with a busd that hangs", busdThatHangs},
		{"with a mistake in a module's configuration and a restart", mistakeAndRestart},
	} {
		t.Run(scene.name, func(t *testing.T) { scene.play(t, g) })
	}
}

// unasked is what clients see of a module under on_failure: refuse that could not be asked.
const unasked = `403 M_FORBIDDEN "Module scripted could not be asked"`

func infiniteNumber(t *testing.T, g *gate) {
	body := `{"name": "%s", "org.example.x": 1e400}`
	create := func(name string) string {
		return g.alice.do(t, "POST", "/_matrix/client/v3/createRoom", fmt.Appendf(nil, body, name)).String()
	}
	g.wants(t, "a room that is allowed", "200", create("fine"))
	g.wants(t, "a room that is refused", refusedByModule, create("refused"))
}

func halfACharacter(t *testing.T, g *gate) {
	before := g.outages()
	login := func(user, password, more string) reply {
		return g.s.nobody().do(t, "POST", "/_matrix/client/v3/login", fmt.Appendf(nil,
			`{"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "%s"}, "password": "%s"%s}`, user, password, more))
	}
	g.wants(t, "a user's name, as without modules", broken, login(`al\ud800ice`, "x", "").String())
	if len(g.calls(t, "auth_checkers", "al\ufffdice")) == 0 {
		t.Error("the module was not asked about the user")
	}
	g.says(t, map[string]string{"check_login_for_spam": `{"when": "` + "\ufffd" + `", "reply": {"refusal": {"error": "not this one"}}}`})
	g.wants(t, "a device's name", refusedByModule, login("alice", "secret", `, "initial_device_display_name": "\ud800"`).String())
	if n := g.outages() - before; n > 0 {
		t.Errorf("the log has %d outages that never were", n)
	}
}

func largeState(t *testing.T, g *gate) {
	id := g.alice.createRoom(t, nil)
	for i := range 20 {
		g.alice.must(t, "PUT", room(id, "state", "org.example.blob", strconv.Itoa(i)), map[string]any{"d": strings.Repeat("x", 60_000)})
	}
	send := func(body string) string {
		return g.alice.do(t, "PUT", room(id, "send", "m.room.message", g.unique("txn")), message(body)).String()
	}
	g.says(t, map[string]string{"check_event_allowed": `{"when": "viagra", "reply": {"refusal": {"error": "not this one"}}}`})
	g.wants(t, "a message that is allowed", "200", send("hello"))
	g.wants(t, "a message that is refused", refusedByModule, send("viagra"))
	if g.outages() > 0 {
		t.Error("the log has an outage that never was")
	}
}

func busdThatHangs(t *testing.T, g *gate) {
	g.relay.forget()
	g.d.Signal(syscall.SIGSTOP)
	got := g.create(t, "held")
	asked := g.relay.count()
	g.d.Signal(syscall.SIGCONT)
	g.wants(t, "a room that nobody is asked about in time", "200", got)
	if asked != 1 {
		t.Errorf("the request waited for %d questions that had no answer, one after the other", asked)
	}
	refused := func() string { return g.create(t, "refused") }
	g.wants(t, "a room after that", refusedByModule, eventually(t, refusedByModule, refused))
}

// mistakeAndRestart restarts busd with a configuration that the module refuses: once where busd remembers what the module
// wanted, and once where nothing but busd.yaml says it.
func mistakeAndRestart(t *testing.T, g *gate) {
	fine := func() string { return g.create(t, "fine") }
	g.more = ", denny: []"
	g.restart(t)
	g.wants(t, "a room, as the module is remembered", unasked, eventually(t, unasked, fine))
	g.state, g.callbacks = "", ", user_may_create_room: {}"
	g.restart(t)
	g.wants(t, "a room, as busd.yaml names the callback", unasked, eventually(t, unasked, fine))
	g.more = ""
	reload(t, g.d, g.config(t))
	g.wants(t, "a room after the mistake", "200", eventually(t, "200", fine))
	g.wants(t, "a room that is refused", refusedByModule, g.create(t, "refused"))
}
