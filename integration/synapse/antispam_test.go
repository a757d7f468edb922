//go:build integration

package synapse_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/antispam"
)

// TestSynapseAntispamRecording records again what the package sends and understands, and compares.
func TestSynapseAntispamRecording(t *testing.T) {
	t.Parallel()
	isRecorded(t, "record_antispam.py", "internal/antispam/testdata/recorded.json")
}

// TestSynapseEventsRecording records again what events are to Synapse, and compares.
func TestSynapseEventsRecording(t *testing.T) {
	t.Parallel()
	isRecorded(t, "record_events.py", "internal/busd/policyserver/testdata/events.json")
}

// isRecorded wants that a script prints what is in a file.
func isRecorded(t *testing.T, script, file string) {
	t.Helper()
	got, err := exec.CommandContext(t.Context(), testbed.Python(t), filepath.Join("testdata", script)).Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(testbed.Root, file))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s prints what is not in %s:\n%s", script, file, got)
	}
}

// antispamServer is one of the antispam protocol, which wants a token.
type antispamServer struct {
	url   string
	mu    sync.Mutex
	no    string   // the callback that it refuses
	asked []string // callbacks
}

func startAntispamServer(t *testing.T) *antispamServer {
	t.Helper()
	s := &antispamServer{}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.url = h.URL
	return s
}

// ServeHTTP implements [http.Handler].
func (s *antispamServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	callback := path.Base(r.URL.Path)
	_, _ = io.Copy(io.Discard, r.Body)
	switch {
	case r.Header.Get("Authorization") != "Bearer secret":
		w.WriteHeader(http.StatusUnauthorized)
	case callback == s.no:
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"errcode":"ORG.EXAMPLE.NO","error":"not here","org.example.n":1}`)
	default:
		s.asked = append(s.asked, callback)
		_, _ = io.WriteString(w, "{}")
	}
}

// refuse has the server refuse a callback alone, and forget what it was asked.
func (s *antispamServer) refuse(callback string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.no, s.asked = callback, nil
}

func (s *antispamServer) wasAsked(callback string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(strings.Join(s.asked, " ")+" ", callback+" ")
}

const notHere = `403 ORG.EXAMPLE.NO "not here" {"org.example.n":1}`

// TestSynapseAntispamCallbacks has a client do all that makes the package ask, with busd between it and a server.
func TestSynapseAntispamCallbacks(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	server := startAntispamServer(t)
	acts := map[string]func(t *testing.T, s *synapse, alice, bob user, id string) reply{
		"user_may_create_room": func(t *testing.T, _ *synapse, alice, _ user, _ string) reply {
			return alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{})
		},
		"user_may_invite": func(t *testing.T, _ *synapse, alice, bob user, id string) reply {
			return alice.do(t, "POST", room(id, "invite"), map[string]any{"user_id": bob.id})
		},
		"user_may_join_room": func(t *testing.T, _ *synapse, _, bob user, id string) reply {
			return bob.do(t, "POST", room(id, "join"), map[string]any{})
		},
		"check_event_for_spam": func(t *testing.T, _ *synapse, alice, _ user, id string) reply {
			return alice.do(t, "POST", room(id, "send", "m.room.message"), map[string]any{"msgtype": "m.text", "body": "hello"})
		},
		"user_may_publish_room": func(t *testing.T, _ *synapse, alice, _ user, id string) reply {
			return alice.do(t, "PUT", "/_matrix/client/v3/directory/list/room/"+id, map[string]any{"visibility": "public"})
		},
		"check_login_for_spam": func(t *testing.T, s *synapse, alice, _ user, _ string) reply {
			return s.nobody().do(t, "POST", "/_matrix/client/v3/login", map[string]any{
				"type": "m.login.password", "identifier": map[string]any{"type": "m.id.user", "user": alice.id}, "password": "secret",
			})
		},
	}
	s := prepareSynapse(t)
	token := filepath.Join(t.TempDir(), "token")
	testbed.Write(t, token, "secret\n")
	callbacks := strings.Join(sorted(acts), ", ")
	d := testbed.Serve(t, fmt.Sprintf("server_name: %q\nmodules:\n  - module: server\n    antispam: {base_url: '%s/x', token_file: '%s', callbacks: [%s]}\n",
		s.name, server.url, token, callbacks))
	s.configure(t, fmt.Sprintf(`
  - module: synapse_http_antispam.HTTPAntispam
    config: {base_url: "%s/_modulebus/antispam", enabled_callbacks: [%s]}`, d.URL, callbacks), "")
	s.start(t)
	alice, bob := s.register(t, "alice", false), s.register(t, "bob", false)
	for _, callback := range sorted(acts) {
		if _, ok := antispam.Find(callback); !ok {
			t.Errorf("the protocol has no %s", callback)
		}
		server.refuse("")
		id := alice.createRoom(t, nil)
		server.refuse(callback)
		if got := acts[callback](t, s, alice, bob, id).String(); got != notHere {
			t.Errorf("%s, refused: the client sees %s", callback, got)
		}
		server.refuse("")
		if got := acts[callback](t, s, alice, bob, id); got.status != 200 || !server.wasAsked(callback) {
			t.Errorf("%s: the client sees %v, and the server was asked: %v", callback, got, server.wasAsked(callback))
		}
	}
}

var yamlBlock = regexp.MustCompile("(?ms)^ *```yaml\n(.*?)^ *```$")

// TestSynapseAntispamInFiveMinutes does what docs/antispam.md says: a Synapse that asks a server is taken over, and its
// users see what they saw.
func TestSynapseAntispamInFiveMinutes(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	text, err := os.ReadFile(filepath.Join(testbed.Root, "docs", "antispam.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "## Five minutes")
	section, _, _ := strings.Cut(rest, "\n## ")
	blocks := yamlBlock.FindAllStringSubmatch(section, -1)
	if len(blocks) != 3 {
		t.Fatalf("the page shows %d files, and not 3", len(blocks))
	}
	server, s, port := startAntispamServer(t), prepareSynapse(t), testbed.FreePort(t)
	token := filepath.Join(t.TempDir(), "token")
	testbed.Write(t, token, "secret\n")
	here := strings.NewReplacer("http://127.0.0.1:29339", server.url, "meowlnir.token", token, "example.com", s.name, "127.0.0.1:8010", fmt.Sprint("127.0.0.1:", port))
	modules := func(block int) string {
		_, list, _ := strings.Cut(here.Replace(blocks[block][1]), "modules:")
		return list
	}
	seen := func(by func() user) (saw []string) {
		s.start(t)
		defer s.stop()
		alice := by()
		for _, refused := range []string{"", "user_may_create_room"} {
			server.refuse(refused)
			r := alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{})
			delete(r.body, "room_id")
			saw = append(saw, r.String())
		}
		return saw
	}
	s.configure(t, modules(0), "")
	before := seen(func() user { return s.register(t, "alice", false) })
	testbed.Serve(t, fmt.Sprintf("http: {listen: '127.0.0.1:%d'}\n%s", port, unindented(here.Replace(blocks[1][1]))))
	s.configure(t, modules(2), "")
	if after := seen(func() user { return s.nobody().loggedIn(t, "alice") }); fmt.Sprint(after) != fmt.Sprint(before) || after[1] != notHere {
		t.Errorf("clients see %q, and before %q", after, before)
	}
}

// loggedIn is the user of that name with a token of its own.
func (u user) loggedIn(t *testing.T, name string) user {
	t.Helper()
	r := u.must(t, "POST", "/_matrix/client/v3/login", map[string]any{
		"type": "m.login.password", "identifier": map[string]any{"type": "m.id.user", "user": name}, "password": "secret",
	})
	return user{u.s, r.str("user_id"), r.str("access_token")}
}

// unindented is a block in a list of the page.
func unindented(block string) string { return strings.ReplaceAll("\n"+block, "\n   ", "\n") }
