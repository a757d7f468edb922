//go:build integration

package python_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// unknowing is the configuration of a homeserver that knows nothing.
func unknowing(t *testing.T) string {
	t.Helper()
	homeserver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	t.Cleanup(homeserver.Close)
	token := filepath.Join(t.TempDir(), "token")
	testbed.Write(t, token, "secret")
	return fmt.Sprintf("homeserver: {url: %q, token_file: %q}\n", homeserver.URL, token)
}

// ofSynapse are entries for classes of testdata as Synapse's modules, each with arguments of its command and a configuration.
func ofSynapse(t *testing.T, modules ...string) string {
	t.Helper()
	text := new(strings.Builder)
	text.WriteString("modules:\n")
	for i := 0; i < len(modules); i += 2 {
		fmt.Fprintf(text, "  - {module: m%d, run: [env, \"PYTHONPATH=%s:%s\", %s, -m, modulebus.synapse, %s], config: %s}\n",
			i, absolute(t, "bridges/python"), absolute(t, "integration/python/testdata"), testbed.Python(t), modules[i], modules[i+1])
	}
	return text.String()
}

// answer asks a callback, and returns the answer.
func answer(t *testing.T, d *testbed.Daemon, callback, question string) map[string]any {
	t.Helper()
	_, out := d.Request(http.MethodPost, "/_modulebus/v1/ask/"+callback, []byte(question))
	var said struct {
		Answer   map[string]any
		Failures []any
		Error    string
	}
	if err := json.Unmarshal(out, &said); err != nil || said.Error != "" || len(said.Failures) > 0 {
		t.Fatalf("%s: %v: %s", callback, err, out)
	}
	return said.Answer
}

func TestClassOfAnInterfaceBeforeModulesRuns(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, unknowing(t)+ofSynapse(t,
		"older.Spam, --section, spam_checker", `{deny: ["`+evil+`", evil]}`,
		"older.Rules, --section, third_party_event_rules, --state, m.room.power_levels=", `{deny: ["`+evil+`"]}`,
		"older.Passwords, --section, password_providers", `{users: {"`+alice+`": wonderland}}`))
	if !d.Create(evil).Refused() || d.Create(alice).Refused() {
		t.Error("spam_checker: it refuses somebody else than its configuration says")
	}
	const registration = `{"username": %q, "request_info": []}`
	if got := answer(t, d, "spam_checker/check_registration_for_spam", fmt.Sprintf(registration, "evil")); got["refusal"] == nil {
		t.Errorf("a callback of three arguments says %v", got)
	}
	const event = `{"event": {"event_id": "$e", "room_version": "10", "json": {"type": "m.room.message", "sender": %q, "room_id": "!r:example.com",
 "content": {}, "origin_server_ts": 1, "depth": 1, "prev_events": [], "auth_events": [], "hashes": {"sha256": ""}, "signatures": {}}}}`
	if got := answer(t, d, "third_party_rules/check_event_allowed", fmt.Sprintf(event, evil)); got["refusal"] == nil {
		t.Errorf("third_party_event_rules: %v", got)
	}
	if got := answer(t, d, "third_party_rules/check_event_allowed", fmt.Sprintf(event, alice)); got != nil {
		t.Errorf("third_party_event_rules: %v", got)
	}
	const login = `{"user": "alice", "login_type": "m.login.password", "login_dict": {"password": %q}}`
	if got := answer(t, d, "password_auth_provider/auth_checkers", fmt.Sprintf(login, "wonderland")); got["user_id"] != alice {
		t.Errorf("password_providers: %v", got)
	}
	if got := answer(t, d, "password_auth_provider/auth_checkers", fmt.Sprintf(login, "mirror")); got != nil {
		t.Errorf("password_providers, with the wrong password: %v", got)
	}
}

func TestStateThatASynapseModuleNeedsIsTheOperatorsWord(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, unknowing(t)+ofSynapse(t, "older.Rules, --section, third_party_event_rules, --state, 'm.room.power_levels=,m.room.member'", `{deny: []}`))
	testbed.Eventually(t, "what it needs is known", func() bool {
		_, out := d.Request(http.MethodGet, "/_modulebus/v1/wants", nil)
		var wants struct{ State map[string]any }
		return json.Unmarshal(out, &wants) == nil && fmt.Sprint(wants.State["third_party_rules.check_event_allowed"]) ==
			"map[all:false keys:[map[state_key: type:m.room.power_levels] map[type:m.room.member]]]"
	})
}

func TestClassInTheWrongSectionIsToldTheRightOne(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, unknowing(t)+ofSynapse(t, "imap_like.Provider", "{}"))
	d.Stderr.Line(t, "add --section password_providers after its name in run")
}

func TestSynapseModuleMakesRoomForANewConfiguration(t *testing.T) {
	t.Parallel()
	const class = "older.Spam, --section, spam_checker"
	homeserver := unknowing(t)
	d := testbed.Serve(t, homeserver+ofSynapse(t, class, `{deny: []}`))
	if d.Create(evil).Refused() {
		t.Fatal("a list that is empty has somebody on it")
	}
	d.Reconfigure(homeserver + ofSynapse(t, class, `{deny: ["`+evil+`"]}`))
	d.Signal(syscall.SIGHUP)
	testbed.Eventually(t, "the new configuration holds", func() bool { return d.Create(evil).Refused() })
	for _, line := range d.Stderr.Lines("worker ended") {
		if !strings.Contains(line, `"level":"info"`) {
			t.Errorf("a process that makes room is taken for one that crashed: %s", line)
		}
	}
}
