//go:build integration

package synapse_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

// policedWorld is a Synapse whose name is that of a front, which passes /_matrix/policy/ on to busd; and another one, whose
// user made a room with both in it and named the policy server.
type policedWorld struct {
	*world
	config   string // of busd, with a place for on_failure
	alice    user   // of the other homeserver, the room's creator
	mallory  user   // of the first one
	requests atomic.Int64
}

func newPolicedWorld(t *testing.T) *policedWorld {
	t.Helper()
	p := &policedWorld{world: &world{s: prepareSynapse(t)}}
	behind := p.s.name
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.s.name = fmt.Sprintf("localhost:%d", front.Addr().(*net.TCPAddr).Port)
	p.files(t)
	testbed.Write(t, filepath.Join(p.s.dir, "api.token"), "token")
	p.config = `
server_name: "` + p.s.name + `"
state_dir: "` + filepath.Join(p.s.dir, "state") + `"
homeserver: {url: "` + p.s.url + `/_synapse/modulebus", token_file: "` + filepath.Join(p.s.dir, "api.token") + `"}
policy_server: {}
modules:
  - module: scripted
    run: [` + testbed.Program(t, scripted) + `]
    config: {script: "` + p.script + `", record: "` + p.record + `", register: [check_event_for_spam]}
    on_failure: %s
`
	p.d = testbed.Serve(t, fmt.Sprintf(p.config, "skip"))
	p.start(t, behind)
	p.serve(t, front, behind)
	other := startSynapse(t, " []", "")
	p.alice, p.mallory = other.register(t, "alice", false), p.s.register(t, "mallory", false)
	p.police(t)
	return p
}

// start starts the Synapse behind the front.
func (p *policedWorld) start(t *testing.T, behind string) {
	t.Helper()
	name := p.s.name
	p.s.name = behind
	p.s.configure(t, `
  - module: modulebus_synapse.ModuleBus
    config: {url: "`+p.d.URL+`", api_token_file: "`+filepath.Join(p.s.dir, "api.token")+`"}`, "")
	p.s.name = name
	file := filepath.Join(p.s.dir, "homeserver.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	testbed.Write(t, file, strings.Replace(string(text), `server_name: "`+behind, `server_name: "`+name, 1))
	p.s.start(t)
}

// serve is the front, as the documentation has the reverse proxy.
func (p *policedWorld) serve(t *testing.T, l net.Listener, behind string) {
	t.Helper()
	to := func(base string) *httputil.ReverseProxy {
		u, _ := url.Parse(base)
		return &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host },
			Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		}
	}
	busd, homeserver := to(p.d.URL), to("https://"+strings.Replace(behind, "localhost", "127.0.0.1", 1))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_matrix/policy/") {
			p.requests.Add(1)
			busd.ServeHTTP(w, r)
			return
		}
		homeserver.ServeHTTP(w, r)
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.StartTLS()
	t.Cleanup(s.Close)
}

// police makes the room, and sends the event that `busd policy` prints into it.
func (p *policedWorld) police(t *testing.T) {
	t.Helper()
	p.room = p.alice.createRoom(t, map[string]any{"preset": "public_chat"})
	p.mallory.must(t, "POST", "/_matrix/client/v3/join/"+url.PathEscape(p.room)+"?via="+url.QueryEscape(p.alice.s.name), map[string]any{})
	status, out, stderr := testbed.Run(t, "policy", "--config", p.d.File)
	var e struct {
		Type     string          `json:"type"`
		StateKey string          `json:"state_key"`
		Content  json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal([]byte(out), &e); status != 0 || err != nil {
		t.Fatalf("busd policy: %d, %s%s", status, out, stderr)
	}
	p.alice.must(t, "PUT", room(p.room, "state", e.Type, e.StateKey), e.Content)
}

// send has alice say a text of her own.
func (p *policedWorld) send(t *testing.T, about string) reply {
	t.Helper()
	return p.alice.do(t, "PUT", room(p.room, "send", "m.room.message", p.unique("txn")), map[string]any{"msgtype": "m.text", "body": about})
}

const (
	refusesSpam = `{"when": "spam", "reply": {"refusal": {"errcode": "ORG.EXAMPLE.SPAM", "error": "no spam", "additional_fields": {"score": 7}}}}`
	spamRefused = `400 M_FORBIDDEN "no spam" {"org.modulebus.errcode":"ORG.EXAMPLE.SPAM","score":7}`
)

// TestSynapseAsksBusdAsPolicyServer also keeps the promise of docs/policy-server.md that nobody waits for long.
func TestSynapseAsksBusdAsPolicyServer(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	p := newPolicedWorld(t)
	p.say(t, map[string]string{"check_event_for_spam": refusesSpam})
	sent := p.send(t, "hello")
	p.wants(t, "a message", sent, "200")
	p.wants(t, "a message that is refused", p.send(t, "spam"), spamRefused)
	topic := func(text string) reply {
		return p.alice.do(t, "PUT", room(p.room, "state", "m.room.topic", ""), map[string]any{"topic": text})
	}
	p.wants(t, "state", topic("weather"), "200")
	p.wants(t, "state that is refused", topic("spam"), spamRefused)
	redact := func(reason string) reply {
		return p.alice.do(t, "PUT", room(p.room, "redact", sent.str("event_id"), p.unique("txn")), map[string]any{"reason": reason})
	}
	p.wants(t, "a redaction that is refused", redact("spam"), spamRefused)
	p.wants(t, "a redaction", redact("hello"), "200")
	p.joins(t)
	p.failures(t)
	asked := p.requests.Load()
	p.alice.must(t, "PUT", room(p.room, "state", "m.room.policy", ""), map[string]any{})
	if p.wants(t, "a message without a policy server", p.send(t, "spam"), "200"); p.requests.Load() != asked {
		t.Error("the policy server was asked by who no longer has one")
	}
}

func (p *policedWorld) wants(t *testing.T, what string, got reply, want string) {
	t.Helper()
	if s := got.String(); !strings.HasPrefix(s, want) {
		t.Errorf("%s: got %s, want %s", what, s, want)
	}
}

// joins has users of the policy server's homeserver join: the other homeserver asks about each.
func (p *policedWorld) joins(t *testing.T) {
	t.Helper()
	for _, name := range []string{"eve", "spam"} {
		eve := p.s.register(t, name, false)
		eve.must(t, "POST", "/_matrix/client/v3/join/"+url.PathEscape(p.room)+"?via="+url.QueryEscape(p.alice.s.name), map[string]any{})
		testbed.Eventually(t, "modules are asked about the join of "+name, func() bool {
			return len(p.calls(t, "check_event_for_spam", `"state_key":"`+eve.id)) > 0
		})
	}
	testbed.Eventually(t, "a join that passes is seen", func() bool { return strings.Contains(p.members(t), "@eve:") })
	if strings.Contains(p.members(t), "@spam:") {
		t.Error("a join that is refused is seen")
	}
}

// members are those whom alice's homeserver has in the room.
func (p *policedWorld) members(t *testing.T) string {
	t.Helper()
	return string(p.alice.must(t, "GET", room(p.room, "joined_members"), nil).raw)
}

// failures has the module fail under each policy.
func (p *policedWorld) failures(t *testing.T) {
	t.Helper()
	p.say(t, map[string]string{"check_event_for_spam": `{"error": "broken"}`})
	for policy, want := range map[string]string{
		"{local: fail, federated: skip, policy: refuse}": "400 M_FORBIDDEN",
		"{local: fail, federated: skip}":                 "200",
		"{policy: fail}":                                 "500 M_UNKNOWN",
	} {
		p.d.Reconfigure(fmt.Sprintf(p.config, policy))
		testbed.Eventually(t, "busd goes by "+policy, func() bool {
			start := time.Now()
			got := p.send(t, "anything").String()
			if took := time.Since(start); took > 25*time.Second { // Synapse waits for 30 s for who does not answer.
				t.Errorf("%s: alice waited for %v", policy, took)
			}
			return strings.HasPrefix(got, want)
		})
	}
}
