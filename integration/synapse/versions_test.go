//go:build integration

package synapse_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/subjects"
)

// older are versions of Synapse, beside the newest, in which the bridge is tried: the oldest that has callbacks of ours, and the
// last that takes a code from one callback and True or False from the others. They get what they need in versions of their
// time. With MODULEBUS_SYNAPSES=1 those that are marked with more are tried as well, in most of which callbacks took something else.
var older = map[string]struct {
	needs   []string
	refused string // what the sender of an event sees
	more    bool
}{
	"1.37.1":  {of2021, `403 M_FORBIDDEN "not this one"`, false},
	"1.46.0":  {knowingFrozendict, `403 M_FORBIDDEN "not this one"`, true},
	"1.48.0":  {knowingFrozendict, `403 M_FORBIDDEN "not this one"`, true},
	"1.59.1":  {knowingFrozendict, `403 M_FORBIDDEN "not this one"`, true},
	"1.61.1":  {of2021, `403 M_FORBIDDEN "This message has been rejected as probable spam"`, false},
	"1.63.1":  {of2021, `403 M_FORBIDDEN "not this one"`, true},
	"1.120.2": {[]string{"prometheus-client==0.21.1", "twisted==24.11.0", "setuptools<70"}, `403 M_FORBIDDEN "not this one"`, true},
}

var of2021 = []string{"prometheus-client==0.14.1", "twisted==22.10.0", "setuptools<70", "jinja2<3.1", "pillow<10"}

// knowingFrozendict has a canonicaljson that writes what Synapse's events consist of when a module is asked about them.
var knowingFrozendict = slices.Concat(of2021, []string{"canonicaljson<2"})

// deciders are callbacks that can refuse somebody. Older versions take the answers of most in other forms.
var deciders = []string{
	"check_event_for_spam", "user_may_join_room", "user_may_invite", "user_may_create_room", "user_may_create_room_alias", "user_may_publish_room",
	"check_username_for_spam", "check_registration_for_spam", "check_media_file_for_spam", "check_event_allowed", "on_create_room",
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
// cannot. Whatever form they take answers in, a refusal refuses, and a failure lets nobody pass.
func TestSynapseOfOtherVersions(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	for version, of := range older { //nolint:paralleltest // as above
		if of.more && os.Getenv("MODULEBUS_SYNAPSES") == "" {
			continue
		}
		t.Run(version, func(t *testing.T) {
			st := olderStage(t, version, of.needs)
			st.s.log.Line(t, "get_media_upload_limits_for_user, which this Synapse does not have")
			st.say(t, map[string]string{"check_event_for_spam": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`})
			send := func(text string) string {
				return st.alice.do(t, "PUT", room(st.room, "send", "m.room.message", st.unique("txn")), message(text)).String()
			}
			if got := eventually(t, of.refused, func() string { return send("refused") }); got != of.refused {
				t.Errorf("the client saw %s, want %s", got, of.refused)
			}
			if got := send("fine"); got != "200" {
				t.Errorf("the client saw %s", got)
			}
			for _, s := range scenes {
				if d, _ := subjects.Find(s.callback); slices.Contains(deciders, s.callback) && !isOlder(version, d.Options.GetSince()) {
					st.decides(t, s)
				}
			}
		})
	}
}

// olderStage is a Synapse of that version beside a busd whose module wants all that decides.
func olderStage(t *testing.T, version string, needs []string) *stage {
	t.Helper()
	port := testbed.FreePort(t)
	st := &stage{s: prepareSynapse(t)}
	st.s.python, st.s.r0 = olderSynapse(t, version, needs), isOlder(version, "1.48")
	st.files(t)
	token := filepath.Join(st.s.dir, "api.token")
	testbed.Write(t, token, "secret\n")
	st.d = testbed.Serve(t, st.faultsConfig(t, port, strings.Join(deciders, ", ")+", get_media_upload_limits_for_user"))
	st.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: "http://127.0.0.1:%d", api_token_file: %q, web: [/_synapse/client/demo]}`, port, token), "")
	st.s.start(t)
	st.populate(t)
	return st
}

// decides plays a scene with each kind of answer there is.
func (st *stage) decides(t *testing.T, s scene) {
	t.Helper()
	allowed := s.answers[0].want[:3] // A status, in all but one.
	for entry, passes := range map[string]bool{silent: true, `{"reply": {"refusal": {}}}`: false, fails: false} {
		got := s.act(t, st, func(string) { st.play(t, s, "", answer{entry: entry}) })
		if passes != strings.HasPrefix(got, allowed) {
			t.Errorf("%s of a module that says %s: the client saw %s", s.callback, entry, got)
		}
		st.say(t, nil)
	}
}

// isOlder compares what comes before the second point.
func isOlder(version, than string) bool {
	release := func(v string) int {
		n, _ := strconv.Atoi(strings.Split(v, ".")[1])
		return n
	}
	return release(version) < release(than)
}
