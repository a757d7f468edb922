//go:build integration

package synapse_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// moving is a Synapse module that is moved out of Synapse's process.
type moving struct {
	class    string
	config   string // in YAML, on one line
	tolerate string
	grants   string
	web      string // paths of its web resources
	path     string // where Python finds it, beside the bridge and the test's own modules
	section  string // of homeserver.yaml, where that is older than modules
}

// inside is the configuration of the Synapse that has the module in its process: its list of modules, and more.
func (m moving) inside() (modules, more string) {
	entry := "\n  - {module: " + m.class + ", config: " + m.config + "}"
	if m.section == "" {
		return entry, ""
	}
	return " []", m.section + ":" + entry + "\n"
}

// sectionOf is the argument that says the section.
func (m moving) sectionOf() string {
	if m.section == "" {
		return "modules"
	}
	return m.section
}

// moved is a busd that runs a Synapse module, unmodified, in a process of its own, before the Synapse whose it is.
func moved(t *testing.T, s *synapse, m moving, more string) *testbed.Daemon {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(testbed.Root, "bridges/python"))
	if err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(s.dir, "api.token")
	testbed.Write(t, token, sharedSecret)
	address := testbed.FreeAddress(t)
	d := testbed.Prepare(t, `
server_name: "`+s.name+`"
nats: {listen: "127.0.0.1:0"}
http: {listen: "`+address+`"}
homeserver: {url: "`+s.url+`/_synapse/modulebus", token_file: "`+token+`"}
modules:
  - module: moved
    run: [env, `+plainVersion+`, "PYTHONPATH=`+path+`:`+pythonPath(t)+`:`+m.path+`", `+testbed.Python(t)+`, -m, modulebus.synapse, `+m.class+`, "--tolerate=`+m.tolerate+`", "--section=`+m.sectionOf()+`"]
    timeout: 2s
    config: `+m.config+`
    grants: [`+m.grants+`]
`)
	d.URL = "http://" + address
	d.Start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("busd says\n%s", d.Stderr.String())
		}
	})
	s.configure(t, `
  - module: modulebus_synapse.ModuleBus
    config: {url: "`+d.URL+`", api_token_file: "`+token+`", web: [`+m.web+`]}`, more)
	return d
}

// ready waits until the module has joined, and Synapse has registered what it wants to be asked. The module joins when
// Synapse answers, which may be after busd has said that it runs.
func ready(t *testing.T, d *testbed.Daemon, s *synapse) {
	t.Helper()
	d.Announced()
	testbed.Eventually(t, "the module is ready", func() bool { return d.Module("moved").State == "ready" })
	var wants struct{ Callbacks map[string][]string }
	_, out := d.Request("GET", "/_modulebus/v1/wants", nil)
	if err := json.Unmarshal(out, &wants); err != nil {
		t.Fatal(err)
	}
	probed := 0
	defer testbed.Eventually(t, "Synapse's questions are answered", func() bool {
		probed++
		return s.nobody().do(t, "POST", "/_matrix/client/v3/register", map[string]any{
			"username": fmt.Sprintf("probe%d", probed), "password": sharedSecret, "auth": map[string]any{"type": "m.login.dummy"},
		}).status == http.StatusOK
	})
	wanted := slices.Concat(slices.Collect(maps.Values(wants.Callbacks))...)
	testbed.Eventually(t, "Synapse asks what the module wants", func() bool { // It registers all of it at once.
		told := strings.Join(registered.FindAllString(s.log.String(), -1), ",") + ","
		return len(wanted) == 0 || slices.ContainsFunc(wanted, func(name string) bool { return strings.Contains(told, " "+name+",") })
	})
}

// registered is what the bridge logs when it registers callbacks.
var registered = regexp.MustCompile(`registered( \w+,)* \w+`)

// movedStage has the module of pythonStage in a process of its own.
func movedStage(t *testing.T, more string) *stage {
	t.Helper()
	st := &stage{s: prepareSynapse(t)}
	st.files(t)
	st.d = moved(t, st.s, moving{
		class:  "scripted.Scripted",
		config: `{script: "` + st.script + `", record: "` + st.record + `", login_types: {` + loginType + `: [secret]}}`,
		grants: "users.private",
	}, more)
	return st
}

// TestModuleOfSynapseRunsUnmodifiedOutOfItsProcess has every scene played with one module in Synapse's process, and with
// the same module in its own.
//
//nolint:paralleltest // Its scenes play on one stage.
func TestModuleOfSynapseRunsUnmodifiedOutOfItsProcess(t *testing.T) {
	quiet(t)
	more := emailConfig(t)
	inside, moved := pythonStage(t, more), movedStage(t, more)
	p := startPeer(t)
	for _, st := range []*stage{inside, moved} {
		st.s.start(t)
		if st.d != nil {
			ready(t, st.d, st.s)
		}
		st.populate(t)
		st.peer = p
	}
	for _, s := range slices.Concat(scenes, moreScenes, lastScenes) {
		for _, a := range s.answers {
			if onPurpose[s.callback+"/"+a.name] != "" {
				continue
			}
			t.Run(s.callback+"/"+a.name, func(t *testing.T) {
				out := moved.clientSaw(t, s, a)
				// What a scene wants is what TestSynapseCallbacks has seen of a module inside; some depend on what a log has by now.
				if in := inside.clientSaw(t, s, a); out != in && out != a.want {
					t.Errorf("in its own process the client saw\n\t%s\nand in Synapse's\n\t%s", out, in)
				}
			})
		}
	}
}

// TestModuleOfSynapseAnswersOutOfItsProcess is the part of it that takes no second server: what clients see with the module
// in its own process is what TestSynapseCallbacks sees with it in Synapse's.
//
//nolint:paralleltest // Its scenes play on one stage.
func TestModuleOfSynapseAnswersOutOfItsProcess(t *testing.T) {
	st := movedStage(t, emailConfig(t))
	st.s.start(t)
	ready(t, st.d, st.s)
	st.populate(t)
	played := 0
	for _, s := range scenes {
		for _, a := range s.answers {
			if a.want == "" || strings.Contains(a.want, "told") || onPurpose[s.callback+"/"+a.name] != "" {
				continue // Those that wait for what comes later are for make moved.
			}
			played++
			t.Run(s.callback+"/"+a.name, func(t *testing.T) {
				if got := st.clientSaw(t, s, a); got != a.want {
					t.Errorf("the client saw\n\t%s\nwant\n\t%s", got, a.want)
				}
			})
		}
	}
	if played < 50 {
		t.Errorf("%d scenes were played", played)
	}
}

// clientSaw plays a scene, and returns what the client saw.
func (st *stage) clientSaw(t *testing.T, s scene, a answer) string {
	t.Helper()
	got := s.act(t, st, func(when string) { st.play(t, s, when, a) })
	st.say(t, nil)
	return strings.ReplaceAll(got, st.s.name, "SERVER")
}

// TestModuleOfSynapseHasTheSamePagesAndCallsOutOfItsProcess has a module with a page, a timer and calls in both places.
//
//nolint:paralleltest // servers enough for a small machine
func TestModuleOfSynapseHasTheSamePagesAndCallsOutOfItsProcess(t *testing.T) {
	quiet(t)
	inside, outside := prepareSynapse(t), prepareSynapse(t)
	inside.configure(t, "\n  - {module: paged.Paged, config: {}}", "")
	d := moved(t, outside, moving{class: "paged.Paged", config: "{}", grants: "users.private", web: "/_synapse/client/paged"}, "")
	var saw []string
	for _, s := range []*synapse{inside, outside} {
		s.start(t)
		if s == outside {
			ready(t, d, s)
		}
		admin, alice := s.register(t, "admin", true), s.register(t, "alice", false)
		one := []string{
			eventually(t, "true", func() string {
				return strconv.FormatBool(strings.Contains(text(alice.do(t, "GET", "/_synapse/client/paged?user=alice", nil)), `"ticks":true`))
			}),
			text(admin.do(t, "GET", "/_synapse/client/paged?user=admin", nil)),
			text(alice.do(t, "GET", "/_synapse/client/paged?user=nobody", nil)),
			text(alice.do(t, "GET", "/_synapse/client/paged", nil)),
			text(alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{})),
			text(alice.do(t, "POST", "/_synapse/client/paged", map[string]any{})),
		}
		saw = append(saw, strings.ReplaceAll(strings.Join(one, "\n"), s.name, "SERVER"))
	}
	if saw[0] != saw[1] {
		t.Errorf("in its own process, clients saw\n%s\nand in Synapse's\n%s", saw[1], saw[0])
	}
	if !strings.Contains(saw[0], `"asked_by":"@admin:SERVER"`) {
		t.Errorf("the page does not know who asks: %s", saw[0])
	}
}

// text is all that a client sees of a reply.
func text(r reply) string {
	return fmt.Sprintf("%d %s %s", r.status, r.header.Get("Content-Type"), r.raw)
}

// quiet leaves out a test of two Synapses side by side where other tests have the machine: what a scene sees depends on
// how far each of them is.
func quiet(t *testing.T) {
	t.Helper()
	if os.Getenv("MODULEBUS_MOVED") == "" {
		t.Skip("make moved runs this on a machine of its own")
	}
}
