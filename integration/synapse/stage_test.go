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

// stage is a Synapse whose modules answer as a script says: over the bus, or inside its process.
type stage struct {
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

// busStage has busd, the scripted module as a process of its own, and the bridge; modules come before it in Synapse's list.
func busStage(t *testing.T, more string, modules ...string) *stage {
	t.Helper()
	st := &stage{s: prepareSynapse(t)}
	st.files(t)
	names, _ := json.Marshal(everyCallback())
	st.d = testbed.Serve(t, `
server_name: "`+st.s.name+`"
nats: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
modules:
  - module: scripted
    run: [`+testbed.Program(t, scripted)+`]
    timeout: 2s
    config: {script: "`+st.script+`", record: "`+st.record+`", login_types: {`+loginType+`: [secret]}, register: `+string(names)+`}
`)
	st.s.configure(t, strings.Join(modules, "")+`
  - module: modulebus_synapse.ModuleBus
    config: {url: "`+st.d.URL+`", web: [/_synapse/client/scripted]}`, more)
	return st
}

// pythonStage has the scripted module inside Synapse.
func pythonStage(t *testing.T, more string) *stage {
	t.Helper()
	st := &stage{s: prepareSynapse(t)}
	st.files(t)
	st.s.configure(t, `
  - module: scripted.Scripted
    config: {script: "`+st.script+`", record: "`+st.record+`", login_types: {`+loginType+`: [secret]}}`, more)
	return st
}

func (st *stage) files(t *testing.T) {
	t.Helper()
	st.script, st.record = filepath.Join(st.s.dir, "script.json"), filepath.Join(st.s.dir, "record.jsonl")
	testbed.Write(t, st.script, "{}")
	testbed.Write(t, st.record, "")
}

func (st *stage) populate(t *testing.T) {
	t.Helper()
	st.admin = st.s.register(t, "admin", true)
	st.alice = st.s.register(t, "alice", false)
	st.bob = st.s.register(t, "bob", false)
	st.room = st.alice.createRoom(t, nil)
	st.bob.must(t, "POST", room(st.room, "join"), map[string]any{})
}

// unique makes a name that no other call made.
func (st *stage) unique(prefix string) string {
	st.count++
	return fmt.Sprintf("%s%d", prefix, st.count)
}

// newUser is one that nothing was done with yet.
func (st *stage) newUser(t *testing.T) user { return st.s.register(t, st.unique("user"), false) }

// say sets the script: an entry by callback, as JSON.
func (st *stage) say(t *testing.T, entries map[string]string) {
	t.Helper()
	script := map[string]json.RawMessage{}
	for callback, e := range entries {
		script[callback] = json.RawMessage(e)
	}
	raw, err := json.Marshal(script)
	if err != nil {
		t.Fatalf("%v: %v", entries, err)
	}
	testbed.Write(t, st.script+".new", string(raw))
	if err := os.Rename(st.script+".new", st.script); err != nil {
		t.Fatal(err)
	}
}

// entry is what the script says of a callback.
func (st *stage) entry(t *testing.T, callback string) string {
	t.Helper()
	raw, err := os.ReadFile(st.script)
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
func (st *stage) calls(t *testing.T, callback, text string) (found []call) {
	t.Helper()
	f, err := os.Open(st.record)
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
func (st *stage) told(t *testing.T, callback, text string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); testbed.Pause(t) {
		if len(st.calls(t, callback, text)) > 0 {
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
