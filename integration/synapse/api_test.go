//go:build integration

package synapse_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/subjects"
)

const callerBase = "/_synapse/client/caller"

// caller is the program that makes the calls it is told to.
const caller = "integration/synapse/testdata/caller"

// apiStage is a Synapse with the bridge, busd, and a Go module that makes the calls it is told to.
type apiStage struct {
	s          *synapse
	d          *testbed.Daemon
	admin      user
	alice, bob user
	room       string // of Alice, whom Bob joined
	mails      *mailbox
	outside    *outside
}

// apiScene is a call by the module, and how a client sees that it was made.
type apiScene struct {
	method string
	act    func(t *testing.T, st *apiStage) string // what the client saw
	want   string
}

// serveCaller starts a busd with a module that calls the Module API of the Synapse at a URL, and may call all of it.
func serveCaller(t *testing.T, serverName, url, token string) *testbed.Daemon {
	t.Helper()
	return testbed.Serve(t, `
server_name: "`+serverName+`"
nats: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
homeserver: {url: "`+url+`/_synapse/modulebus", token_file: "`+token+`"}
modules:
  - module: caller
    run: [`+testbed.Program(t, caller)+`]
    timeout: 5s
    grants: [`+strings.Join(subjects.Scopes(), ", ")+`]
`)
}

func newAPIStage(t *testing.T) *apiStage {
	t.Helper()
	st := &apiStage{s: prepareSynapse(t), mails: newMailbox(t), outside: newOutside(t)}
	token := filepath.Join(t.TempDir(), "api.token")
	testbed.Write(t, token, "the token of busd\n")
	st.d = serveCaller(t, st.s.name, st.s.url, token)
	st.s.configure(t, `
  - module: modulebus_synapse.ModuleBus
    config: {url: "`+st.d.URL+`", api_token_file: "`+token+`", timeout: 10s, web: [`+callerBase+`]}`,
		st.mails.config()+`
mau_stats_only: true
sso: {client_whitelist: ["https://client.example/"]}
`)
	st.s.start(t)
	st.admin, st.alice, st.bob = st.s.register(t, "admin", true), st.s.register(t, "alice", false), st.s.register(t, "bob", false)
	st.room = st.alice.createRoom(t, map[string]any{"name": "Home", "room_alias_name": "home"})
	st.bob.must(t, "POST", room(st.room, "join"), map[string]any{})
	eventually200(t, "the module's web resource", func() reply { return st.call(t, "properties", nil) })
	return st
}

func eventually200(t *testing.T, what string, f func() reply) reply {
	t.Helper()
	var r reply
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); testbed.Pause(t) {
		if r = f(); r.status == http.StatusOK {
			return r
		}
	}
	t.Fatalf("%s: %v", what, r)
	return r
}

type request map[string]any

// call has the module call a method from inside its web resource, and returns what that answers.
func (st *apiStage) call(t *testing.T, method string, r request) reply {
	t.Helper()
	if r == nil {
		r = request{}
	}
	return st.s.nobody().do(t, "POST", callerBase+"/call/"+method, r)
}

// done is call, and fails the test unless it succeeds.
func (st *apiStage) done(t *testing.T, method string, r request) reply {
	t.Helper()
	got := st.call(t, method, r)
	if got.status != http.StatusOK {
		t.Fatalf("%s: %v", method, got)
	}
	return got
}

// inside has the module call a method while it is asked about a message of Alice's.
func (st *apiStage) inside(t *testing.T, method string, r request) map[string]any {
	t.Helper()
	content := request{"msgtype": "m.text", "body": "x", "org.example.method": method, "org.example.request": r}
	got := st.alice.do(t, "PUT", room(st.room, "send", "m.room.message", strconv.FormatInt(time.Now().UnixNano(), 10)), content)
	answer, ok := got.body["org.example.reply"].(map[string]any)
	if got.status != http.StatusForbidden || !ok {
		t.Fatalf("%s inside check_event_for_spam: %v", method, got)
	}
	return answer
}

func (st *apiStage) id(localpart string) string { return "@" + localpart + ":" + st.s.name }

// as has the module register a user and a device.
func (st *apiStage) as(t *testing.T, localpart string) user {
	t.Helper()
	id := st.done(t, "register_user", request{"localpart": localpart}).str("user_id")
	return user{st.s, id, st.done(t, "register_device", request{"user_id": id}).str("access_token")}
}

// text writes what a client saw in one line, always in the same way.
func (st *apiStage) text(v any) string {
	if s, ok := v.(string); ok {
		return strings.ReplaceAll(s, st.s.name, "SERVER")
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(string(raw), st.s.name, "SERVER")
}

// only keeps some members.
func only(body map[string]any, keys ...string) map[string]any {
	maps.DeleteFunc(body, func(k string, _ any) bool { return !slices.Contains(keys, k) })
	return body
}

func member(v any, keys ...any) any {
	for _, k := range keys {
		switch key := k.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[key]
		case int:
			l, _ := v.([]any)
			if key >= len(l) {
				return nil
			}
			v = l[key]
		}
	}
	return v
}

func list(v any, key string) (all []string) {
	items, _ := v.([]any)
	for _, item := range items {
		all = append(all, fmt.Sprint(member(item, key)))
	}
	return all
}

func (u user) adminPath() string { return "/_synapse/admin/v2/users/" + url.PathEscape(u.id) }

func profile(u user, rest ...string) string {
	return "/_matrix/client/v3/profile/" + url.PathEscape(u.id) + "/" + strings.Join(rest, "/")
}

func (u user) joined(t *testing.T, id string) bool {
	t.Helper()
	all, _ := u.must(t, "GET", "/_matrix/client/v3/joined_rooms", nil).body["joined_rooms"].([]any)
	return slices.Contains(all, any(id))
}

func (st *apiStage) published(t *testing.T, id string) bool {
	t.Helper()
	r := st.bob.must(t, "GET", "/_matrix/client/v3/publicRooms", nil)
	return slices.Contains(list(r.body["chunk"], "room_id"), id)
}

func (u user) deviceID(t *testing.T) string {
	t.Helper()
	return u.must(t, "GET", "/_matrix/client/v3/account/whoami", nil).str("device_id")
}

// sync returns the senders of presence that a client hears of, and from where it goes on.
func (u user) sync(t *testing.T, since string) (senders []string, next string) {
	t.Helper()
	if since != "" {
		since = "&since=" + url.QueryEscape(since)
	}
	r := u.must(t, "GET", "/_matrix/client/v3/sync?timeout=0&set_presence=offline"+since, nil)
	senders = list(member(any(r.body), "presence", "events"), "sender")
	slices.Sort(senders)
	return slices.Compact(senders), r.str("next_batch")
}

// TestSynapseModuleAPI has a Go module call each method of the Module API, through busd and the bridge, in a real Synapse.
//
//nolint:paralleltest,tparallel // Each call finds what those before it have left.
func TestSynapseModuleAPI(t *testing.T) {
	t.Parallel()
	st := newAPIStage(t)
	rows := map[string][]string{}
	for _, s := range slices.Concat(apiScenes, lastAPIScenes) {
		t.Run(s.method, func(t *testing.T) {
			got := st.text(s.act(t, st))
			if got != s.want {
				t.Errorf("the client saw\n\t%s\nwant\n\t%s", got, s.want)
			}
			rows[s.method] = append(rows[s.method], got)
		})
	}
	t.Run("errors", func(t *testing.T) { st.errors(t) })
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, m := range subjects.Methods() {
		if len(rows[m.Name]) == 0 {
			t.Errorf("%s was not called", m.Name)
			rows[m.Name] = []string{""}
		}
		for _, effect := range rows[m.Name] {
			_, _ = fmt.Fprintf(table, "%s\t%s\n", m.Name, effect)
		}
	}
	_ = table.Flush() // It writes to memory.
	t.Logf("Module API: what clients saw of each of %d methods\n%s", len(subjects.Methods()), b.String())
}

// errors reach the module with their errcode, status and text, and faults without.
func (st *apiStage) errors(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		method string
		r      request
		want   string
	}{
		{"check_username", request{"username": "alice"}, `400 M_USER_IN_USE "User ID already taken."`},
		{"set_user_admin", request{"user_id": st.id("nobody"), "admin": true}, `404 M_UNKNOWN "No row found (users)"`},
		{"get_global", request{"user_id": "@a:elsewhere.example", "data_type": "m.x"}, `400 M_INVALID_PARAM "field user_id: must be a user of this server"`},
		{"put_global", request{"user_id": st.id("nobody"), "data_type": "m.x"}, `404 M_NOT_FOUND "There is no such user"`},
		{"lookup_room_alias", request{"room_alias": "#nothing:" + st.s.name}, `404 M_NOT_FOUND "Room alias #nothing:SERVER not found"`},
		{"create_and_send_event_into_room", request{"event_dict": request{"type": "m.x"}}, `400 M_BAD_JSON "field event_dict.room_id: must be a string"`},
		{"create_and_send_event_into_room", request{"event_dict": st.event(st.id("nobody"), "x")}, `403 M_FORBIDDEN "User @nobody:SERVER not in room ROOM"`},
		{"set_push_rule_action", request{"user_id": st.alice.id, "scope": "global", "kind": "override", "rule_id": "mine"}, `404 M_NOT_FOUND "There is no such push rule"`},
		{"set_push_rule_action", request{"user_id": st.alice.id, "scope": "global", "kind": "underride", "rule_id": ".m.rule.message", "actions": []string{"shout"}}, `400 M_INVALID_PARAM`},
		{"invalidate_access_token", request{"access_token": "x"}, `401 M_UNKNOWN_TOKEN "Invalid access token passed."`},
		{"send_mail", request{"recipient": "refused@example.org", "subject": "s", "html": "h", "text": "t"}, `500 M_UNKNOWN "Internal server error"`},
	} {
		got := strings.ReplaceAll(st.text(st.call(t, c.method, c.r).String()), st.room, "ROOM")
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %v: the module got\n\t%s\nwant\n\t%s", c.method, c.r, got, c.want)
		}
	}
	// The token is for busd alone.
	for _, u := range []user{st.s.nobody(), st.admin} {
		if r := u.do(t, "POST", "/_synapse/modulebus/v1/properties", request{}); r.status != http.StatusForbidden || r.str("errcode") != "M_FORBIDDEN" {
			t.Errorf("without busd's token: %v", r)
		}
	}
	if r := st.s.nobody().do(t, "POST", callerBase+"/whoami", nil); r.String() != `401 M_MISSING_TOKEN "Missing access token"` {
		t.Errorf("without a user's token: %v", r)
	}
}

func (st *apiStage) event(sender, body string) request {
	return request{
		"type": "m.room.message", "room_id": st.room, "sender": sender,
		"content": request{"msgtype": "m.text", "body": body},
	}
}

// mailbox is a mail server that keeps what it gets.
type mailbox struct {
	l     net.Listener
	mails chan string
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	m := &mailbox{l: l, mails: make(chan string, 10)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go m.receive(c)
		}
	}()
	return m
}

func (m *mailbox) config() string { return sendMailTo(m.l) }

// sendMailTo is the part of homeserver.yaml that makes Synapse send email to a listener.
func sendMailTo(l net.Listener) string {
	return fmt.Sprintf(`
email:
  smtp_host: 127.0.0.1
  smtp_port: %d
  enable_tls: false
  notif_from: "Test <noreply@example.org>"
`, l.Addr().(*net.TCPAddr).Port)
}

// receive speaks as much SMTP as it takes to be given a mail.
func (m *mailbox) receive(c net.Conn) {
	defer c.Close()
	say := func(line string) { _, _ = io.WriteString(c, line+"\r\n") } // It fails when the client is gone.
	say("220 test")
	lines := bufio.NewScanner(c)
	var mail strings.Builder
	for data := false; lines.Scan(); {
		line := lines.Text()
		command := strings.ToUpper(line)
		switch {
		case data && line == ".":
			data = false
			m.mails <- mail.String()
			say("250 ok")
		case data:
			mail.WriteString(line + "\n")
		case strings.Contains(command, "<REFUSED@"):
			say("550 no")
		case command == "DATA":
			data = true
			say("354 go on")
		case command == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// outside is what Synapse talks to outside: a push gateway, and an identity server.
type outside struct {
	gateway, identity *httptest.Server
	got               chan map[string]any
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{got: make(chan map[string]any, 10)}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body) // What is no JSON is nothing.
		o.got <- map[string]any{"path": r.URL.Path, "body": body}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"rejected": []}`)
	})
	o.gateway, o.identity = httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(o.gateway.Close)
	t.Cleanup(o.identity.Close)
	return o
}

func receive[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return v
}
