//go:build integration

package synapse_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

// older are versions of Synapse, beside the newest, in which the bridge is tried: the oldest that docs/synapse.md promises,
// and one in between. They get what they need in versions of their time.
var older = map[string]struct {
	needs   []string
	refused string // what a client sees of a refusal
}{
	// It does not let a module say why.
	"1.61.1":  {[]string{"prometheus-client==0.14.1", "twisted==22.10.0", "setuptools<70"}, `403 M_FORBIDDEN "This message has been rejected as probable spam"`},
	"1.120.2": {[]string{"prometheus-client==0.21.1", "twisted==24.11.0", "setuptools<70"}, `403 M_FORBIDDEN "not this one"`},
}

// olderSynapse returns a Python that has that version. It is installed once, into the cache.
func olderSynapse(t *testing.T, version string, needs []string) (python string) {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(testbed.Root, ".cache", "synapse-"+version))
	if err != nil {
		t.Fatal(err)
	}
	python, ready := filepath.Join(dir, "bin", "python"), filepath.Join(dir, "ready")
	if _, err := os.Stat(ready); err == nil {
		return python
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	install := []string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "attrs", "matrix-synapse==" + version}
	for _, c := range []*exec.Cmd{
		exec.CommandContext(ctx, testbed.Python(t), "-m", "venv", "--clear", dir),
		exec.CommandContext(ctx, python, slices.Concat(install, needs)...),
	} {
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c.Args, err, out)
		}
	}
	testbed.Write(t, ready, "")
	return python
}

// TestSynapseOfOtherVersions has the bridge load in older versions of Synapse, ask what they can ask, and say what they
// cannot.
func TestSynapseOfOtherVersions(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	for version, of := range older { //nolint:paralleltest // as above
		t.Run(version, func(t *testing.T) {
			python := olderSynapse(t, version, of.needs)
			port := testbed.FreePort(t)
			st := &stage{s: prepareSynapse(t)}
			st.s.python = python
			st.files(t)
			st.say(t, map[string]string{
				"user_may_create_room": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`,
				"check_event_for_spam": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`,
				"user_may_invite":      `{"when": "refused", "reply": {"refusal": {}}}`,
			})
			token := filepath.Join(st.s.dir, "api.token")
			testbed.Write(t, token, "secret\n")
			testbed.Serve(t, st.faultsConfig(t, port, "user_may_create_room, check_event_for_spam, user_may_invite, get_media_upload_limits_for_user"))
			st.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: "http://127.0.0.1:%d", api_token_file: %q, web: [/_synapse/client/demo]}`, port, token), "")
			st.s.start(t)
			st.populate(t)
			send := func(text string) string {
				return st.alice.do(t, "PUT", room(st.room, "send", "m.room.message", st.unique("txn")), message(text)).String()
			}
			if got := eventually(t, of.refused, func() string { return send("refused") }); got != of.refused {
				t.Errorf("the client saw %s, want %s", got, of.refused)
			}
			if got := send("fine"); got != "200" {
				t.Errorf("the client saw %s", got)
			}
			st.s.log.Line(t, "modules want get_media_upload_limits_for_user, which this Synapse does not have")
		})
	}
}
