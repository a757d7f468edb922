//go:build integration

package synapse_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/integration/testbed"
)

// tried is a Synapse whose operator tries changes before making them.
type tried struct {
	*stage
	port int
	seen int // records so far
}

// openTried has a module that counts, and one in shadow that would refuse other rooms.
func openTried(t *testing.T) *tried {
	t.Helper()
	r := &tried{stage: &stage{s: prepareSynapse(t)}, port: testbed.FreePort(t)}
	r.files(t)
	// The first is slower, so that the second has always said something when the ask is over.
	r.say(t, map[string]string{"user_may_create_room": `{"when": "first", "sleep": 50, "reply": {"refusal": {"error": "the first says no"}}}`})
	testbed.Write(t, r.second(), `{"user_may_create_room": {"when": "second", "reply": {"refusal": {"error": "the second says no"}}}}`)
	r.s.configure(t, fmt.Sprintf("\n  - module: modulebus_synapse.ModuleBus\n    config: {url: %q}", r.url()), "")
	r.d = testbed.Serve(t, r.roster(t, "first", "second shadow"))
	r.s.start(t)
	r.populate(t)
	r.seen = len(r.records(t))
	return r
}

func (r *tried) url() string    { return fmt.Sprintf("http://127.0.0.1:%d", r.port) }
func (r *tried) second() string { return filepath.Join(r.s.dir, "second.json") }

// roster is a busd.yaml with these modules, in this order.
func (r *tried) roster(t *testing.T, modules ...string) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "server_name: %q\nnats: {listen: '127.0.0.1:0'}\nhttp: {listen: '127.0.0.1:%d'}\ndecisions: {no_opinion: 1/1}\nmodules:\n", r.s.name, r.port)
	script := map[string]string{"first": r.script, "second": r.second()}
	for _, m := range modules {
		name, shadow, _ := strings.Cut(m, " ")
		fmt.Fprintf(&text, "  - module: %s\n    run: [%s]\n    timeout: 5s\n    shadow: %t\n    config: {script: %q, record: %q, register: [user_may_create_room]}\n",
			name, testbed.Program(t, scripted), shadow != "", script[name], r.record)
	}
	return text.String() + "  - module: absent\n    callbacks: {user_may_create_room: {on_failure: skip}}\n"
}

// busd runs a command on the busd of the roster, and wants it to end with that status.
func (r *tried) busd(t *testing.T, want int, args ...string) string {
	t.Helper()
	if !slices.Contains(args, "--config") {
		args = append(args, "--url", r.url())
	}
	status, out, complaints := testbed.Run(t, args...)
	if status != want {
		t.Fatalf("busd %s ended with %d: %s%s", strings.Join(args, " "), status, out, complaints)
	}
	return out
}

// lines reads a value from each line.
func lines[T any](t *testing.T, text string) (all []T) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, v)
	}
	return all
}

// records are those of all rooms that somebody wanted to create, as they were wanted. They come when all modules have said
// something, those in shadow, too.
func (r *tried) records(t *testing.T) []decision.Record {
	t.Helper()
	all := lines[decision.Record](t, r.busd(t, 0, "tail", "--since", "1h", "--json", "--callback", "spam_checker.user_may_create_room"))
	slices.SortFunc(all, func(a, b decision.Record) int { return a.Time.Compare(b.Time.Time) })
	return all
}

// attempt is a room that a client wants to create.
type attempt struct {
	client  string // what the client saw
	id      string // the decision
	verdict string // what the decision was
}

// create has the client try each kind of room, and returns what came of it, by kind.
func (r *tried) create(t *testing.T) map[string]attempt {
	t.Helper()
	kinds, seen := []string{"neither", "first", "second", "first and second"}, []string{}
	for _, kind := range kinds {
		seen = append(seen, r.alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": kind}).String())
	}
	var made []decision.Record
	testbed.Eventually(t, "the decisions are recorded", func() bool {
		made = r.records(t)[r.seen:]
		return len(made) == len(kinds)
	})
	r.seen += len(made)
	all := map[string]attempt{}
	for i, kind := range kinds {
		all[kind] = attempt{seen[i], made[i].ID, verdict{made[i].Outcome, made[i].DecidedBy}.String()}
	}
	return all
}

// verdict is a decision as commands print it.
type verdict struct {
	Outcome   string `json:"outcome"`
	DecidedBy string `json:"decided_by"`
}

func (v verdict) String() string { return strings.TrimSpace(v.Outcome + " " + v.DecidedBy) }

// change is a decision that would be another one.
type change struct {
	ID    string
	Would verdict `json:"would_be"`
}

// predicted are the verdicts of attempts after changes.
func predicted(before map[string]attempt, changes []change) map[string]string {
	all := map[string]string{}
	for kind, a := range before {
		all[kind] = a.verdict
		for _, c := range changes {
			if c.ID == a.id {
				all[kind] = c.Would.String()
			}
		}
	}
	return all
}

// shadow predicts what would have come of attempts if the second module had counted.
func (r *tried) shadow(t *testing.T, before map[string]attempt) map[string]string {
	t.Helper()
	var sums []struct{ Differ []change }
	out := r.busd(t, 0, "shadow", "second", "--json")
	if err := json.Unmarshal([]byte(out), &sums); err != nil || len(sums) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	return predicted(before, sums[0].Differ)
}

// replay predicts what would have come of attempts under another roster.
func (r *tried) replay(t *testing.T, before map[string]attempt, roster string, status int) map[string]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "new.yaml")
	testbed.Write(t, file, roster)
	out := r.busd(t, status, "replay", "--since", "1h", "--json", "--config", file)
	return predicted(before, lines[change](t, out))
}

// apply makes the change, and tries the same again.
func (r *tried) apply(t *testing.T, roster string) map[string]attempt {
	t.Helper()
	before := r.d.Stderr.Count("took over the new configuration")
	r.d.Reconfigure(roster)
	r.d.Signal(syscall.SIGHUP)
	testbed.Eventually(t, "the change is made", func() bool { return r.d.Stderr.Count("took over the new configuration") > before })
	return r.create(t)
}

func wantVerdicts(t *testing.T, what string, want map[string]string, got map[string]attempt) {
	t.Helper()
	for kind, v := range want {
		if got[kind].verdict != v {
			t.Errorf("%s: a room named %q was %s, and %s was predicted", what, kind, got[kind].verdict, v)
		}
	}
}

// explained goes from the line in Synapse's log, by the command that it says, to what each module said.
func (r *tried) explained(t *testing.T, id string) {
	t.Helper()
	line := r.s.log.Line(t, "spam_checker.user_may_create_room for "+r.alice.id, "refused by module first")
	_, command, found := strings.Cut(line, "busd ")
	if !found || command != "explain "+id {
		t.Fatalf("Synapse's log says only: %s", line)
	}
	out := r.busd(t, 0, strings.Fields(command)...)
	for _, want := range []string{
		"user_may_create_room: refused by first, in ", `1 +first +\S+ +[\d.]+ ms +[\d.]+ ms +refusal M_FORBIDDEN +yes: it decided`,
		`2 +second +\S+ +[\d.]+ ms +[\d.]+ ms +nothing against it +no: it is in shadow`, `3 +absent +- .*no: a module before it had decided`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// TestSynapseChangeDoesWhatShadowAndReplayPredict goes the way of an operator who is asked why, and then changes the list:
// what the commands say would come is held against what Synapse's clients then see.
func TestSynapseChangeDoesWhatShadowAndReplayPredict(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	r := openTried(t)
	before := r.create(t)
	if got := before["first"].client; got != `403 M_FORBIDDEN "the first says no"` {
		t.Fatalf("the client saw %s", got)
	}
	r.explained(t, before["first"].id)

	counts, reversed := r.roster(t, "first", "second"), r.roster(t, "second", "first")
	want := map[string]string{"neither": "no_opinion", "first": "refused first", "second": "refused second", "first and second": "refused first"}
	testbed.Same(t, "shadow", want, r.shadow(t, before))
	testbed.Same(t, "replay of the module that counts", want, r.replay(t, before, counts, 3))
	after := r.apply(t, counts)
	wantVerdicts(t, "after the module counts", want, after)
	if got := after["second"].client; got != `403 M_FORBIDDEN "the second says no"` {
		t.Errorf("the client saw %s", got)
	}

	want = r.replay(t, after, reversed, 3)
	after = r.apply(t, reversed)
	wantVerdicts(t, "in the other order", want, after)
	if got := after["first and second"].client; got != `403 M_FORBIDDEN "the second says no"` {
		t.Errorf("the client saw %s", got)
	}

	alone := r.roster(t, "second")
	want = r.replay(t, after, alone, 3)
	after = r.apply(t, alone)
	wantVerdicts(t, "without the first", want, after)
	if got := after["first"].client; got != "200" {
		t.Errorf("the client saw %s", got)
	}
}
