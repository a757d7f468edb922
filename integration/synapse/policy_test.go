//go:build integration

package synapse_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/integration/testbed"
)

// policyServer is another homeserver that signs what is sent in a room, as a file says. One of its users is in the room.
type policyServer struct {
	s              *synapse
	script, record string
}

func startPolicyServer(t *testing.T) *policyServer {
	t.Helper()
	p := &policyServer{s: prepareSynapse(t)}
	p.script, p.record = filepath.Join(p.s.dir, "policy.json"), filepath.Join(p.s.dir, "policy.jsonl")
	testbed.Write(t, p.record, "")
	p.says(t, "{}")
	p.s.configure(t, `
  - module: policy.Policy
    config: {script: "`+p.script+`", record: "`+p.record+`"}`, "")
	p.s.start(t)
	return p
}

func (p *policyServer) says(t *testing.T, answer string) {
	t.Helper()
	testbed.Write(t, p.script, answer)
}

// signed is what the policy server is asked to sign while act happens.
func (p *policyServer) signed(t *testing.T, act func()) (bodies []string) {
	t.Helper()
	read := func() [][]byte {
		text, err := os.ReadFile(p.record)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.SplitAfter(text, []byte("\n"))
	}
	before := len(read())
	act()
	for _, line := range read()[before-1:] {
		var e struct {
			Type    string
			Content struct{ Body, Topic string }
		}
		if len(line) > 0 {
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			bodies = append(bodies, e.Type+" "+e.Content.Body+e.Content.Topic)
		}
	}
	return bodies
}

// TestSynapseAsksAPolicyServerBeforeModules has a room with a policy server, and a module that refuses and replaces.
//
//nolint:paralleltest // servers enough for a small machine
func TestSynapseAsksAPolicyServerBeforeModules(t *testing.T) {
	st := busStage(t, "")
	st.s.start(t)
	st.populate(t)
	p := startPolicyServer(t)
	other := p.s.register(t, "policy", false)
	st.peer = &peer{s: p.s, carol: other}
	st.room = st.sharedRoom(t)
	public := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	st.alice.must(t, "PUT", room(st.room, "state", "m.room.policy", ""), map[string]any{
		"via": p.s.name, "public_keys": map[string]any{"ed25519": base64.RawStdEncoding.EncodeToString(public)},
	})
	send := func() string {
		return st.alice.do(t, "PUT", room(st.room, "send", "m.room.message", st.unique("txn")), message("hello")).String()
	}
	setTopic := func() string {
		return st.alice.setState(t, st.room, "m.room.topic", map[string]any{"topic": "a topic"})
	}

	const refusal = `{"reply": {"refusal": {"error": "not this one"}}}`
	const notSigned = `403 M_FORBIDDEN "This message has been rejected as probable spam"`
	const internal = `500 M_UNKNOWN "Internal server error"`
	for _, c := range []struct {
		name, policy string
		script       map[string]string
		act          func() string
		client       string
		signed       []string
	}{
		{"it signs", "{}", nil, send, "200", []string{"m.room.message hello"}},
		{"check_event_for_spam refuses", "{}", map[string]string{"check_event_for_spam": refusal}, send, refusedByModule, []string{"m.room.message hello"}},
		{"check_event_allowed refuses", "{}", map[string]string{"check_event_allowed": refusal}, send, refusedByModule, nil},
		{
			"check_event_allowed replaces", "{}",
			map[string]string{"check_event_allowed": `{"content": {"msgtype": "m.text", "body": "REPLACED"}}`},
			send, "200",
			[]string{"m.room.message REPLACED"},
		},
		{"it objects in its own words", `{"status": 400, "body": "{\"errcode\": \"M_FORBIDDEN\", \"error\": \"no cats\", \"x\": 1}"}`, nil, send, `400 M_FORBIDDEN "no cats" {"x":1}`, []string{"m.room.message hello"}},
		{"it has too much to do", `{"status": 429, "body": "{\"errcode\": \"M_LIMIT_EXCEEDED\", \"retry_after_ms\": 5}"}`, nil, send, internal, []string{"m.room.message hello"}},
		{"it signs nothing", `{"body": "{}"}`, nil, send, `403 M_FORBIDDEN "This event has been rejected as probable spam by the policy server"`, []string{"m.room.message hello"}},
		{"it signs with another key", `{"seed": "B"}`, nil, send, notSigned, []string{"m.room.message hello", "m.room.message hello"}},
		{"it breaks", `{"status": 502, "body": "<html>"}`, nil, send, internal, []string{"m.room.message hello"}},
		{"it is asked about topics", "{}", nil, setTopic, "200", []string{"m.room.topic a topic"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.says(t, c.policy)
			st.say(t, c.script)
			var got string
			signed := p.signed(t, func() { got = c.act() })
			if got != c.client {
				t.Errorf("the client saw %s, want %s", got, c.client)
			}
			testbed.Same(t, "the policy server is asked to sign", c.signed, signed)
		})
	}
	if diff := cmp.Diff([]string(nil), p.signed(t, func() { st.newUser(t).must(t, "POST", room(st.room, "join"), map[string]any{}) })); diff != "" {
		t.Errorf("it is asked about memberships:\n%s", diff)
	}
	if len(st.calls(t, "check_event_for_spam", p.s.name)) == 0 {
		t.Error("the module does not see the policy server's signature")
	}
}
