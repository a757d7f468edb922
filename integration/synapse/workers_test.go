//go:build integration

package synapse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

// deployment is one Synapse in several processes, each of which reaches busd by a way of its own. Clients reach it as a
// reverse proxy lets them: see [mainPaths].
type deployment struct {
	*stage
	processes map[string]*synapse
	relays    map[string]*relay
}

// The processes of a deployment: main, one that serves clients and makes events, and one that writes events.
var processNames = []string{"main", "client", "persister"}

// mainPaths are what a proxy leaves to the main process: what no worker does, and media, for which there is none here.
var mainPaths = []string{
	"/_synapse/admin/",
	"/_matrix/media/",
	"/_matrix/client/v1/media/",
	"/_matrix/client/v3/logout",
	"/_matrix/client/v3/account/3pid/",
	"/_matrix/client/v3/directory/list/room/",
}

// startDeployment has them on PostgreSQL and Redis, as Synapse wants it of workers.
func startDeployment(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{busStage(t, emailConfig(t)), map[string]*synapse{}, map[string]*relay{}}
	testbed.Write(t, d.token(), "the token of busd\n")
	ports := map[string]int{}
	for _, name := range processNames {
		ports[name] = testbed.FreePort(t)
	}
	testbed.Write(t, filepath.Join(d.s.dir, "shared.yaml"), `
database: {name: psycopg2, args: {user: synapse, dbname: postgres, host: `+postgres(t)+`, cp_min: 1, cp_max: 5}}
redis: {enabled: true, path: `+redis(t)+`}
worker_replication_secret: only-for-tests
instance_map:
  main: {host: 127.0.0.1, port: `+strconv.Itoa(ports["main"])+`}
  persister: {host: 127.0.0.1, port: `+strconv.Itoa(ports["persister"])+`}
stream_writers: {events: persister}
`)
	for _, name := range processNames {
		d.process(t, name, ports[name])
	}
	d.s.url = d.proxy(t)
	return d
}

// process starts one, which others find at the port.
func (d *deployment) process(t *testing.T, name string, port int) {
	t.Helper()
	listeners, app, more := "listeners", "homeserver", ""
	if name != "main" {
		listeners, app = "worker_listeners", "generic_worker"
		more = "worker_app: synapse.app.generic_worker\nworker_name: " + name + "\nworker_log_config: log.yaml\n"
	}
	client := testbed.FreePort(t)
	d.relays[name] = startRelay(t, d.d.URL)
	testbed.Write(t, filepath.Join(d.s.dir, name+".yaml"), more+`
`+listeners+`:
  - {port: `+strconv.Itoa(client)+`, bind_addresses: ["127.0.0.1"], type: http, resources: [{names: [client, media]}]}
  - {port: `+strconv.Itoa(port)+`, bind_addresses: ["127.0.0.1"], type: http, resources: [{names: [replication]}]}
modules:
  - module: modulebus_synapse.ModuleBus
    config: {url: "`+d.relays[name].URL+`", api_token_file: "`+d.token()+`", web: [/_synapse/client/scripted]}
`)
	s := &synapse{name: d.s.name, url: fmt.Sprintf("http://127.0.0.1:%d", client), dir: d.s.dir}
	s.app = []string{"synapse.app." + app, "-c", "homeserver.yaml", "-c", "shared.yaml", "-c", name + ".yaml"}
	s.start(t)
	d.processes[name] = s
}

// token is the file with the token of the Module API.
func (d *deployment) token() string { return filepath.Join(d.s.dir, "api.token") }

// proxy hands clients on.
func (d *deployment) proxy(t *testing.T) string {
	t.Helper()
	to := map[string]http.Handler{}
	for name, s := range d.processes {
		target, err := url.Parse(s.url)
		if err != nil {
			t.Fatal(err)
		}
		to[name] = httputil.NewSingleHostReverseProxy(target)
	}
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "client"
		if slices.ContainsFunc(mainPaths, func(path string) bool { return strings.HasPrefix(r.URL.Path, path) }) {
			name = "main"
		}
		to[name].ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p.URL
}

// by names the processes that asked a callback about what has the text in it.
func (d *deployment) by(callback, text string) string {
	var names []string
	for _, name := range sorted(d.relays) {
		if d.relays[name].asked(callback, text) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// askers are who asks what the process that serves the client does not.
var askers = map[string]string{
	"on_new_event":            "client main persister",
	"get_users_for_states":    "client main persister",
	"on_profile_update":       "persister",
	"on_account_data_updated": "main",

	// What has to do with media, and what administrators do, main does itself.
	"check_media_file_for_spam":               "main",
	"get_media_config_for_user":               "main",
	"is_user_allowed_to_upload_media_of_size": "main",
	"get_media_upload_limits_for_user":        "main",
	"on_media_upload_limit_exceeded":          "main",
	"check_can_shutdown_room":                 "main",
	"check_can_deactivate_user":               "main",
	"on_user_deactivation_status_changed":     "main",

	"min_batch_size": "main",
	"on_update":      "main",

	// Of these, no worker takes the requests.
	"user_may_publish_room":                 "main",
	"check_visibility_can_be_modified":      "main",
	"is_3pid_allowed":                       "main",
	"on_threepid_bind":                      "main",
	"on_add_user_third_party_identifier":    "main",
	"on_remove_user_third_party_identifier": "main",
	"on_logged_out":                         "main",
}

// TestSynapseWorkers has a Synapse of several processes. Clients see what they see of one, and each callback is asked by
// the process that docs/synapse.md says.
//
//nolint:paralleltest // Its scenes play on one stage.
func TestSynapseWorkers(t *testing.T) {
	d := startDeployment(t)
	d.populate(t)
	played := slices.Concat(scenes, moreScenes[:4], lastScenes[:2]) // The others take a second server, or a restart.
	for _, s := range played {
		for _, a := range s.answers[:2] {
			t.Run(s.callback+"/"+a.name, func(t *testing.T) { d.scene(t, s, a) })
		}
	}
	for _, name := range processNames {
		t.Run("a page at "+name, func(t *testing.T) { d.page(t, name) })
	}
	for process, only := range onlyThere {
		t.Run("the Module API at "+process, func(t *testing.T) { d.moduleAPI(t, process, only) })
	}
}

func (d *deployment) scene(t *testing.T, s scene, a answer) {
	t.Helper()
	callback, _, _ := strings.Cut(s.callback, ",")
	started, about := time.Now(), ""
	got := s.act(t, d.stage, func(when string) {
		for _, r := range d.relays {
			r.forget()
		}
		about = when
		d.play(t, s, when, a)
	})
	if got != a.want {
		t.Errorf("the client saw\n\t%s\nwant\n\t%s", got, a.want)
	}
	want := askers[callback]
	if want == "" {
		want = "client"
	}
	asked := eventually(t, want, func() string { return d.by(callback, about) })
	if asked != want {
		t.Errorf("%s was asked by %q, want %q", callback, asked, want)
	}
	d.say(t, nil)
	row(s.callback, a.name, asked, got, time.Since(started))
}

// page has a process serve a page of the module's.
func (d *deployment) page(t *testing.T, process string) {
	t.Helper()
	r := d.processes[process].nobody().do(t, "GET", "/_synapse/client/scripted", nil)
	if got := r.header.Get("X-Path"); got != "/_synapse/client/scripted" {
		t.Errorf("%v; the module saw the path %q", r, got)
	}
}

// onlyThere is what a module gets of each process that may be homeserver.url, where it asks for what only main does.
var onlyThere = map[string]string{
	"main":   "200",
	"client": `501 M_UNKNOWN "In Synapse, only the main process does this: busd's homeserver.url should lead there"`,
}

// moduleAPI has a module ask a process, by a busd of its own. What the module does there, the process asks modules about.
func (d *deployment) moduleAPI(t *testing.T, process, only string) {
	t.Helper()
	st := d.callerAt(t, process)
	name := st.done(t, "properties", nil).body["worker_name"]
	if process == "main" && name != nil || process != "main" && name != process {
		t.Errorf("the process that answered calls itself %v", name)
	}
	text := d.unique("from the module ")
	st.done(t, "create_and_send_event_into_room", request{"event_dict": st.event(d.alice.id, text)})
	for callback, want := range map[string]string{"check_event_for_spam": process, "on_new_event": askers["on_new_event"]} {
		if got := eventually(t, want, func() string { return d.by(callback, text) }); got != want {
			t.Errorf("%s was asked by %q, want %q", callback, got, want)
		}
	}
	got := st.call(t, "set_push_rule_action", request{
		"user_id": d.alice.id, "scope": "global", "kind": "underride", "rule_id": ".m.rule.message", "actions": []string{"notify"},
	}).String()
	if got != only {
		t.Errorf("set_push_rule_action: %s, want %s", got, only)
	}
}

// callerAt is a module that asks the process. It is not asked itself.
func (d *deployment) callerAt(t *testing.T, process string) *apiStage {
	t.Helper()
	bus := serveCaller(t, d.s.name, d.processes[process].url, d.token())
	return &apiStage{s: &synapse{name: d.s.name, url: bus.URL}, room: d.room}
}
