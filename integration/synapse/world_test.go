//go:build integration

package synapse_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/subjects"
)

// world is a Synapse whose modules answer as a script says: over the bus, or inside its process.
type world struct {
	s              *synapse
	d              *testbed.Daemon // nil without a bus
	script, record string
	admin          user
	alice, bob     user // who may do what anybody may
	room           string
	peer           *peer // where it federates
	count          int
}

const loginType = "org.example.login"

// scripted is the program whose answers are in a file.
const scripted = "integration/synapse/testdata/scripted"

// busWorld has busd, the scripted module as a process of its own, and the bridge; modules come before it in Synapse's list.
func busWorld(t *testing.T, more string, modules ...string) *world {
	t.Helper()
	w := &world{s: prepareSynapse(t)}
	w.files(t)
	names, _ := json.Marshal(everyCallback())
	w.d = testbed.Serve(t, `
server_name: "`+w.s.name+`"
nats: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
modules:
  - module: scripted
    run: [`+testbed.Program(t, scripted)+`]
    timeout: 2s
    config: {script: "`+w.script+`", record: "`+w.record+`", login_types: {`+loginType+`: [secret]}, register: `+string(names)+`}
`)
	w.s.configure(t, strings.Join(modules, "")+`
  - module: modulebus_synapse.ModuleBus
    config: {url: "`+w.d.URL+`", web: [/_synapse/client/scripted]}`, more)
	return w
}

// pythonWorld has the scripted module inside Synapse.
func pythonWorld(t *testing.T, more string) *world {
	t.Helper()
	w := &world{s: prepareSynapse(t)}
	w.files(t)
	w.s.configure(t, `
  - module: scripted.Scripted
    config: {script: "`+w.script+`", record: "`+w.record+`", login_types: {`+loginType+`: [secret]}}`, more)
	return w
}

func (w *world) files(t *testing.T) {
	t.Helper()
	w.script, w.record = filepath.Join(w.s.dir, "script.json"), filepath.Join(w.s.dir, "record.jsonl")
	testbed.Write(t, w.script, "{}")
	testbed.Write(t, w.record, "")
}

func (w *world) populate(t *testing.T) {
	t.Helper()
	w.admin = w.s.register(t, "admin", true)
	w.alice = w.s.register(t, "alice", false)
	w.bob = w.s.register(t, "bob", false)
	w.room = w.alice.createRoom(t, nil)
	w.bob.must(t, "POST", room(w.room, "join"), map[string]any{})
}

// unique makes a name that no other call made.
func (w *world) unique(prefix string) string {
	w.count++
	return fmt.Sprintf("%s%d", prefix, w.count)
}

// newUser is one that nothing was done with yet.
func (w *world) newUser(t *testing.T) user { return w.s.register(t, w.unique("user"), false) }

// say sets the script: an entry by callback, as JSON.
func (w *world) say(t *testing.T, entries map[string]string) {
	t.Helper()
	script := map[string]json.RawMessage{}
	for callback, e := range entries {
		script[callback] = json.RawMessage(e)
	}
	raw, err := json.Marshal(script)
	if err != nil {
		t.Fatalf("%v: %v", entries, err)
	}
	testbed.Write(t, w.script+".new", string(raw))
	if err := os.Rename(w.script+".new", w.script); err != nil {
		t.Fatal(err)
	}
}

// entry is what the script says of a callback.
func (w *world) entry(t *testing.T, callback string) string {
	t.Helper()
	raw, err := os.ReadFile(w.script)
	if err != nil {
		t.Fatal(err)
	}
	script := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &script); err != nil {
		t.Fatal(err)
	}
	return string(script[callback])
}

// call is a line of the record.
type call struct {
	Callback string
	Request  json.RawMessage
	SHA256   string
}

// calls returns what a callback was called with, if that has the text in it.
func (w *world) calls(t *testing.T, callback, text string) (found []call) {
	t.Helper()
	f, err := os.Open(w.record)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 10<<20)
	for lines.Scan() {
		var c call
		if json.Unmarshal(lines.Bytes(), &c) != nil {
			continue
		}
		request := string(c.Request)
		_ = json.Unmarshal(c.Request, &request) // What runs inside Synapse writes a text.
		if c.Callback == callback && strings.Contains(request, text) {
			found = append(found, c)
		}
	}
	return found
}

// told waits for such a call, and says whether one came.
func (w *world) told(t *testing.T, callback, text string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); testbed.Pause(t) {
		if len(w.calls(t, callback, text)) > 0 {
			return "told"
		}
	}
	return "not told"
}

// eventually waits until f says want, and returns what it said last.
func eventually(t *testing.T, want string, f func() string) string {
	t.Helper()
	var got string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); testbed.Pause(t) {
		if got = f(); got == want {
			break
		}
	}
	return got
}

// everyCallback lists callbacks by name, and what follows up on them. Those that are registered by key are left out.
func everyCallback() (names []string) {
	for _, c := range subjects.Categories() {
		for _, d := range c.Callbacks {
			if declared.Of(d).Key == nil && inSynapse(d) {
				names = append(names, d.Name)
			}
		}
	}
	return names
}

// inSynapse reports whether Synapse asks the callback, and not another homeserver alone.
func inSynapse(d *subjects.Declaration) bool { return d.Options.GetSince() != "none" }
