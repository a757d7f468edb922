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
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// policedStage is a Synapse whose name is that of a front, which passes /_matrix/policy/ on to busd; and another one, whose
// user made a room with both in it and named the policy server.
type policedStage struct {
	*stage
	config   string // of busd, with a place for on_failure
	alice    user   // of the other homeserver, the room's creator
	mallory  user   // of the first one
	requests atomic.Int64
}

func newPolicedStage(t *testing.T) *policedStage {
	t.Helper()
	p := &policedStage{stage: &stage{s: prepareSynapse(t)}}
	behind := p.s.name
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.s.name = fmt.Sprintf("localhost:%d", front.Addr().(*net.TCPAddr).Port)
	p.files(t)
	testbed.Write(t, filepath.Join(p.s.dir, "api.token"), "token")
	p.config = p.documented(t)
	p.d = testbed.Serve(t, fmt.Sprintf(p.config, "{local: fail, federated: skip, policy: skip}"))
	p.start(t, behind)
	p.serve(t, front, behind)
	other := startSynapse(t, " []", "")
	p.alice, p.mallory = other.register(t, "alice", false), p.s.register(t, "mallory", false)
	p.police(t)
	return p
}

// policyBlock is the first one of that language in the documentation.
func policyBlock(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(testbed.Root, "docs", "policy-server.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```"+language+"\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("the page has no block of %s", language)
	}
	return block
}

// documented is the configuration of the documentation, with the scripted module as its module.
func (p *policedStage) documented(t *testing.T) string {
	t.Helper()
	const module, onFailure = "  - module: gate\n", "{local: fail, federated: skip, policy: skip}"
	block := unindented(policyBlock(t, "yaml"))
	if !strings.Contains(block, module) || !strings.Contains(block, onFailure) {
		t.Fatalf("the page has another configuration:\n%s", block)
	}
	return "state_dir: '" + filepath.Join(p.s.dir, "state") + "'" + strings.NewReplacer(
		"example.com", p.s.name, "http://127.0.0.1:8008", p.s.url, "api.token", filepath.Join(p.s.dir, "api.token"), onFailure, "%s",
		module, "  - module: scripted\n    run: ["+testbed.Program(t, scripted)+"]\n"+
			"    config: {script: '"+p.script+"', record: '"+p.record+"', register: [check_event_for_spam]}\n",
	).Replace(block)
}

// start starts the Synapse behind the front.
func (p *policedStage) start(t *testing.T, behind string) {
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

// serve is the front: TLS, and what else a reverse proxy of the federation does.
func (p *policedStage) serve(t *testing.T, l net.Listener, behind string) {
	t.Helper()
	to := func(base string) *httputil.ReverseProxy {
		u, _ := url.Parse(base)
		return &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host },
			Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		}
	}
	policy, homeserver := to(p.nginx(t)), to("https://"+strings.Replace(behind, "localhost", "127.0.0.1", 1))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_matrix/policy/") {
			p.requests.Add(1)
			policy.ServeHTTP(w, r)
			return
		}
		homeserver.ServeHTTP(w, r)
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.StartTLS()
	t.Cleanup(s.Close)
}

// nginx passes to busd what the documentation's block passes, and nothing else. Where there is no nginx, it is busd itself.
func (p *policedStage) nginx(t *testing.T) (base string) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		t.Log("no nginx here, so the documentation's block is not run: make integration installs it where it may")
		return p.d.URL
	}
	folder, at := t.TempDir(), testbed.FreeAddress(t)
	file := filepath.Join(folder, "nginx.conf")
	testbed.Write(t, file, strings.NewReplacer("FOLDER", folder, "LISTEN", at,
		"BLOCK", strings.ReplaceAll(policyBlock(t, "nginx"), "http://127.0.0.1:8010", p.d.URL)).Replace(`daemon off; pid FOLDER/pid; error_log stderr; events {}
http { access_log off;
client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c; uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;
server { listen LISTEN;
BLOCK
} }
`))
	startProgram(t, exec.Command(program, "-p", folder, "-e", "stderr", "-c", file), func() bool {
		rsp, err := http.Get("http://" + at + "/.well-known/matrix/policy_server")
		if err != nil {
			return false
		}
		defer rsp.Body.Close()
		return rsp.StatusCode == http.StatusOK
	})
	return "http://" + at
}

// police makes the room, and sends the event that `busd policy` prints into it.
func (p *policedStage) police(t *testing.T) {
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
func (p *policedStage) send(t *testing.T, about string) reply {
	t.Helper()
	return p.alice.do(t, "PUT", room(p.room, "send", "m.room.message", p.unique("txn")), map[string]any{"msgtype": "m.text", "body": about})
}

const (
	// Only of an event that the policy server is asked about: what a homeserver hands to its own modules has unsigned.
	refusesSpam = `{"when": "spam", "unless": "\"unsigned\"", "reply": {"refusal": {"errcode": "ORG.EXAMPLE.SPAM", "error": "no spam", "additional_fields": {"score": 7}}}}`
	spamRefused = `400 M_FORBIDDEN "no spam" {"org.modulebus.errcode":"ORG.EXAMPLE.SPAM","score":7}`
)

// TestSynapseAsksBusdAsPolicyServer has two homeservers, whose users see what docs/policy-server.md says.
func TestSynapseAsksBusdAsPolicyServer(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	p := newPolicedStage(t)
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
	p.takesBack(t)
	p.failures(t)
	asked := p.requests.Load()
	p.alice.must(t, "PUT", room(p.room, "state", "m.room.policy", ""), map[string]any{})
	if p.wants(t, "a message without a policy server", p.send(t, "spam"), "200"); p.requests.Load() != asked {
		t.Error("the policy server was asked by who no longer has one")
	}
}

func (p *policedStage) wants(t *testing.T, what string, got reply, want string) {
	t.Helper()
	if s := got.String(); !strings.HasPrefix(s, want) {
		t.Errorf("%s: got %s, want %s", what, s, want)
	}
}

// joins has users of the policy server's homeserver join and leave: the other homeserver asks about each, and does not show what
// is refused.
func (p *policedStage) joins(t *testing.T) {
	t.Helper()
	here := func(name string) bool {
		members := p.alice.must(t, "GET", room(p.room, "joined_members"), nil).raw
		return strings.Contains(string(members), "@"+name+":")
	}
	join := func(name string) user {
		u := p.s.register(t, name, false)
		u.must(t, "POST", "/_matrix/client/v3/join/"+url.PathEscape(p.room)+"?via="+url.QueryEscape(p.alice.s.name), map[string]any{})
		return u
	}
	leave := func(u user, reason string) {
		u.must(t, "POST", room(p.room, "leave"), map[string]any{"reason": reason})
	}
	seen := func(name string, is bool) {
		t.Helper()
		testbed.Eventually(t, fmt.Sprintf("%s is seen: %v", name, is), func() bool { return here(name) == is })
	}
	eve := join("eve")
	seen("eve", true)
	leave(eve, "bye")
	seen("eve", false)
	stays := join("stays")
	seen("stays", true)

	p.isStopped(t, join("spam"))
	if here("spam") {
		t.Error("a join that is refused is seen")
	}
	leave(stays, "spam")
	p.isStopped(t, stays)
	if !here("stays") {
		t.Error("a leave that is refused is seen")
	}
	p.says(t, "hello from afar")
	if here("spam") || !here("stays") {
		t.Error("what is refused is seen with the next event")
	}
}

// isStopped waits until alice's homeserver has stopped the last event about the user's membership.
func (p *policedStage) isStopped(t *testing.T, u user) {
	t.Helper()
	p.isSoftFailed(t, p.mallory.must(t, "GET", room(p.room, "state", "m.room.member", u.id)+"?format=event", nil).str("event_id"))
}

func (p *policedStage) isSoftFailed(t *testing.T, id string) {
	t.Helper()
	testbed.Eventually(t, "alice's homeserver stops "+id, func() bool {
		return slices.ContainsFunc((&stage{s: p.alice.s}).stored(t, p.room), func(e storedEvent) bool { return e.ID == id && e.SoftFailed })
	})
}

// says has mallory say something, and waits until alice's homeserver shows it.
func (p *policedStage) says(t *testing.T, text string) (id string) {
	t.Helper()
	id = p.mallory.must(t, "PUT", room(p.room, "send", "m.room.message", p.unique("txn")), message(text)).str("event_id")
	testbed.Eventually(t, "a message from afar is seen", func() bool { return p.shown(t, id) == text })
	return id
}

// shown is what alice sees of a message.
func (p *policedStage) shown(t *testing.T, id string) string {
	t.Helper()
	return p.alice.do(t, "GET", room(p.room, "event", id), nil).str("content", "body")
}

// takesBack has mallory, whose events nobody has signed, redact messages of hers: the other homeserver asks about each. Synapse
// stops a redaction that is refused, and redacts all the same.
func (p *policedStage) takesBack(t *testing.T) {
	t.Helper()
	for _, reason := range []string{"a mistake", "spam"} {
		id := p.says(t, "to be taken back")
		path := room(p.room, "redact", id, p.unique("txn"))
		redaction := p.mallory.must(t, "PUT", path, map[string]any{"reason": reason}).str("event_id")
		if reason == "spam" {
			p.isSoftFailed(t, redaction)
		}
		testbed.Eventually(t, "a redaction is seen, because of "+reason, func() bool { return p.shown(t, id) == "" })
	}
}

// failures has the module fail under each policy: with an error of its own, and with no worker left.
func (p *policedStage) failures(t *testing.T) {
	t.Helper()
	p.say(t, map[string]string{"check_event_for_spam": `{"error": "broken"}`})
	p.underEachPolicy(t)
	p.config = strings.Replace(p.config, "    run: ["+testbed.Program(t, scripted)+"]\n", "", 1)
	p.d.Reconfigure(fmt.Sprintf(p.config, "skip"))
	testbed.Eventually(t, "the module has no worker", func() bool { return p.d.Module("scripted").Workers == 0 })
	p.underEachPolicy(t)
}

func (p *policedStage) underEachPolicy(t *testing.T) {
	t.Helper()
	for policy, want := range map[string]string{
		"{local: fail, federated: skip, policy: refuse}": "400 M_FORBIDDEN",
		"{local: fail, federated: skip}":                 "200",
		"{policy: fail}":                                 "500 M_UNKNOWN",
	} {
		p.d.Reconfigure(fmt.Sprintf(p.config, policy))
		testbed.Eventually(t, "busd goes by "+policy, func() bool { return strings.HasPrefix(p.send(t, "anything").String(), want) })
	}
}
