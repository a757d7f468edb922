package roster_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	createRoom = "spam_checker.user_may_create_room"
	checkEvent = "spam_checker.check_event_for_spam"
	registered = "account_validity.on_user_registration"
	states     = "presence_router.get_users_for_states"
	interested = "presence_router.get_interested_users"
	hello      = "/_synapse/client/hello"
)

// start is when every test begins.
var start = time.UnixMilli(1_700_000_000_000)

// listing returns a roster with these modules listed.
func listing(modules ...config.Module) *roster.Roster {
	r := roster.New()
	r.Configure(modules, 2*time.Second, start)
	return r
}

func listed(name string) config.Module {
	return config.Module{Name: name, Config: json.RawMessage(`{}`), Timeout: time.Second, Workers: 1}
}

func join(worker string, registers ...string) *rosterv1.Join {
	j := &rosterv1.Join{Worker: worker, Version: "1.2.3"}
	for _, name := range registers {
		if strings.HasPrefix(name, "/") {
			j.WebResources = append(j.WebResources, name)
		} else {
			j.Callbacks = append(j.Callbacks, name)
		}
	}
	return j
}

// asked is what the roster has of each module, in order: its callbacks, and its paths.
func asked(r *roster.Roster) map[string][]string {
	all := map[string][]string{}
	for _, m := range r.Snapshot().GetModules() {
		all[m.GetName()] = []string{}
		for _, i := range m.GetCallbacks() {
			all[m.GetName()] = append(all[m.GetName()], i.GetCallback())
		}
		all[m.GetName()] = append(all[m.GetName()], m.GetWebResources()...)
	}
	return all
}

// status returns what is said of one module.
func status(t *testing.T, r *roster.Roster, name string) roster.Status {
	t.Helper()
	i := slices.IndexFunc(r.Modules(), func(s roster.Status) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("nothing is said of module %s", name)
	}
	return r.Modules()[i]
}

func equal(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// says wants one of the texts to contain the words.
func says(t *testing.T, texts []string, words ...string) {
	t.Helper()
	if !slices.ContainsFunc(texts, func(text string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
	}) {
		t.Errorf("none of %q has all of %q", texts, words)
	}
}

func TestRosterIsInTheOperatorsOrder(t *testing.T) {
	t.Parallel()
	r := listing(listed("first"), listed("second"))
	r.Join("second", join("2", createRoom), start)
	r.Join("first", join("1", createRoom), start)
	equal(t, "first", r.Snapshot().GetModules()[0].GetName())
	before := r.Snapshot().GetRevision()
	changed := r.Configure([]config.Module{listed("second"), listed("first")}, 2*time.Second, start)
	equal(t, []string(nil), changed) // Neither has to know.
	equal(t, "second", r.Snapshot().GetModules()[0].GetName())
	equal(t, map[string][]string{"first": {createRoom}, "second": {createRoom}}, asked(r))
	if r.Snapshot().GetRevision() <= before {
		t.Error("homeservers are not told of another order")
	}
}

func TestRosterHasTheOperatorsTerms(t *testing.T) {
	t.Parallel()
	m := listed("gate")
	m.Timeout = 250 * time.Millisecond
	m.OnFailure = &config.Policy{Local: config.Refuse, Federated: config.Refuse}
	m.Callbacks = map[string]config.Override{checkEvent: {
		Timeout: 3 * time.Second, OnFailure: &config.Policy{Local: config.Fail, Federated: config.Skip},
	}}
	r := listing(m)
	r.Join("gate", join("1", createRoom, checkEvent, registered), start)
	// Without a breaker, its time holds for workers that do not answer.
	want := &rosterv1.Roster{Revision: r.Snapshot().GetRevision(), BudgetMs: 2000, Modules: []*rosterv1.Module{{
		Name: "gate", Workers: []string{"1"}, Heard: true, Callbacks: []*rosterv1.Interest{
			// It cannot be refused, so what holds is the callback's own.
			{Callback: registered, TimeoutMs: 250, BreakerOpenMs: 5000, OnFailure: callbacksv1.OnFailure_FAIL, OnFailureFederated: callbacksv1.OnFailure_FAIL, OnFailurePolicy: callbacksv1.OnFailure_FAIL},
			{Callback: checkEvent, TimeoutMs: 3000, BreakerOpenMs: 5000, OnFailure: callbacksv1.OnFailure_FAIL, OnFailureFederated: callbacksv1.OnFailure_SKIP, OnFailurePolicy: callbacksv1.OnFailure_SKIP},
			{Callback: createRoom, TimeoutMs: 250, BreakerOpenMs: 5000, OnFailure: callbacksv1.OnFailure_REFUSE, OnFailureFederated: callbacksv1.OnFailure_REFUSE, OnFailurePolicy: callbacksv1.OnFailure_REFUSE},
		},
	}}}
	equal(t, want, r.Snapshot())
}

func TestModuleGetsItsEntry(t *testing.T) {
	t.Parallel()
	m := listed("gate")
	m.Config = json.RawMessage(`{"deny":[]}`)
	m.Callbacks = map[string]config.Override{checkEvent: {Timeout: 3 * time.Second}}
	r := listing(m)
	e := r.Entry("gate", start)
	equal(t, &rosterv1.Entry{
		Listed: true, Config: []byte(`{"deny":[]}`), ConfigRevision: e.GetConfigRevision(),
		TimeoutMs: 1000, TimeoutsMs: map[string]uint32{checkEvent: 3000}, JoinEveryMs: 5000,
	}, e)
	equal(t, e, listing(m).Entry("gate", start)) // Another busd says the same.
	m.Config = json.RawMessage(`{"deny":["@evil:example.com"]}`)
	equal(t, []string{"gate"}, r.Configure([]config.Module{m}, 2*time.Second, start))
	if r.Entry("gate", start).GetConfigRevision() == e.GetConfigRevision() {
		t.Error("another config has the same revision")
	}
}

func TestLaterModuleLosesAPathClaimedTwiceAndIsTold(t *testing.T) {
	t.Parallel()
	r := listing(listed("first"), listed("second"))
	if p := r.Join("second", join("2", hello, "/_synapse/client/own"), start).GetProblems(); len(p) != 0 {
		t.Errorf("problems %q where there are none yet", p)
	}
	equal(t, map[string][]string{"first": {}, "second": {hello, "/_synapse/client/own"}}, asked(r))
	r.Join("first", join("1", hello), start)
	equal(t, map[string][]string{"first": {hello}, "second": {"/_synapse/client/own"}}, asked(r))
	says(t, r.Join("second", join("2", hello, "/_synapse/client/own"), start).GetProblems(), hello, "module first")
	says(t, []string{status(t, r, "second").LastError}, hello, "module first")
	r.Configure([]config.Module{listed("second"), listed("first")}, 2*time.Second, start)
	equal(t, map[string][]string{"second": {hello, "/_synapse/client/own"}, "first": {}}, asked(r))
	says(t, []string{status(t, r, "first").LastError}, hello, "module second")
}

func TestPathThatIsNotAModulesIsTurnedAway(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	got := r.Join("gate", join("1", "/_matrix/client/v3/login", hello), start)
	says(t, got.GetProblems(), "/_matrix", "Matrix specification")
	equal(t, map[string][]string{"gate": {hello}}, asked(r))
}

func TestModuleThatLeavesKeepsItsInterest(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	r.Join("gate", join("1", createRoom), start)
	r.Join("gate", join("2", createRoom), start)
	equal(t, 2, status(t, r, "gate").Workers)
	r.Leave("gate", "1", start)
	equal(t, roster.Ready, status(t, r, "gate").State)
	r.Leave("gate", "2", start)
	s := status(t, r, "gate")
	equal(t, roster.Absent, s.State)
	says(t, []string{s.LastError}, "no worker", "MODULEBUS_MODULE=gate")
	equal(t, map[string][]string{"gate": {createRoom}}, asked(r))
	r.Join("gate", join("3", checkEvent), start)
	equal(t, map[string][]string{"gate": {checkEvent}}, asked(r))
}

func TestWorkerThatDoesNotJoinAgainExpires(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	r.Join("gate", join("1", createRoom), start)
	r.Join("gate", join("2", createRoom), start.Add(roster.JoinEvery))
	r.Expire(start.Add(roster.Lifetime))
	equal(t, 2, status(t, r, "gate").Workers)
	r.Expire(start.Add(roster.Lifetime + time.Millisecond))
	equal(t, 1, status(t, r, "gate").Workers)
	r.Expire(start.Add(2 * roster.Lifetime))
	equal(t, roster.Absent, status(t, r, "gate").State)
	equal(t, map[string][]string{"gate": {createRoom}}, asked(r))
}

func TestModuleThatIsNotListedIsReportedAndNotAsked(t *testing.T) {
	t.Parallel()
	for name, appears := range map[string]func(*roster.Roster){
		"when it joins":           func(r *roster.Roster) { r.Join("guest", join("1", createRoom, hello), start) },
		"when it wants its entry": func(r *roster.Roster) { r.Entry("guest", start) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := listing(listed("gate"))
			before := r.Snapshot()
			appears(r)
			s := status(t, r, "guest")
			equal(t, roster.Unlisted, s.State)
			equal(t, 0, s.Order)
			says(t, []string{s.LastError}, "not in the roster", "- module: guest")
			equal(t, before, r.Snapshot())
			r.Expire(start.Add(roster.Lifetime + time.Millisecond))
			equal(t, 1, len(r.Modules()))
		})
	}
	r := listing(listed("gate"))
	equal(t, false, r.Join("guest", join("1", createRoom), start).GetListed())
	equal(t, false, r.Entry("guest", start).GetListed())
	r.Configure([]config.Module{listed("gate"), listed("guest")}, 2*time.Second, start)
	equal(t, map[string][]string{"gate": {}, "guest": {createRoom}}, asked(r)) // It need not join again.
	r.Configure([]config.Module{listed("gate")}, 2*time.Second, start)
	equal(t, roster.Unlisted, status(t, r, "guest").State)
	equal(t, map[string][]string{"gate": {}}, asked(r))
	r.Leave("guest", "1", start)
	equal(t, "gate", r.Modules()[len(r.Modules())-1].Name) // Nothing is left to report.
}

func TestEntryThatIsAskedForMakesNoWorker(t *testing.T) {
	t.Parallel()
	r := listing()
	r.Entry("late", start)
	r.Configure([]config.Module{listed("late")}, 2*time.Second, start)
	equal(t, roster.Absent, status(t, r, "late").State)
}

func TestWorkersThatDifferAreReported(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	r.Join("gate", join("1", createRoom, checkEvent), start)
	if p := r.Join("gate", join("2", checkEvent, createRoom, checkEvent), start).GetProblems(); len(p) != 0 {
		t.Errorf("another order, and a callback named twice, is reported: %q", p)
	}
	says(t, r.Join("gate", join("3", createRoom), start).GetProblems(), "do not all register the same", "two modules named gate")
	says(t, []string{status(t, r, "gate").LastError}, "do not all register the same")
	equal(t, map[string][]string{"gate": {checkEvent, createRoom}}, asked(r)) // Whoever implements it is asked.
	r.Leave("gate", "3", start)
	equal(t, "", status(t, r, "gate").LastError)
}

func TestPresenceCallbacksCountTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	r := listing(listed("presence"))
	says(t, r.Join("presence", join("1", states, createRoom), start).GetProblems(), "presence_router", "all of its callbacks")
	equal(t, map[string][]string{"presence": {createRoom}}, asked(r))
	equal(t, 0, len(r.Join("presence", join("1", states, createRoom, interested), start).GetProblems()))
	equal(t, map[string][]string{"presence": {interested, states, createRoom}}, asked(r))
}

func TestUnknownCallbackIsReportedAndLeftOut(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	got := r.Join("gate", join("1", "spam_checker.user_may_time_travel", "user_may_create_room"), start)
	says(t, got.GetProblems(), "user_may_time_travel", "knows no callback")
	equal(t, 1, len(got.GetProblems()))
	equal(t, map[string][]string{"gate": {createRoom}}, asked(r)) // Its name alone is enough.
}

func TestRefusedConfigurationStandsUntilItChanges(t *testing.T) {
	t.Parallel()
	m := listed("gate")
	m.Run = []string{"gate"}
	r := listing(m)
	equal(t, roster.Starting, status(t, r, "gate").State)
	refusal := join("1")
	refusal.ConfigError = &rosterv1.ConfigError{Path: "deny[0]", Error: "is not a user ID"}
	r.Join("gate", refusal, start)
	r.Crashed("gate", "its process ended (awaits configuration)", start)
	refused := func(is bool) {
		t.Helper()
		s := status(t, r, "gate")
		equal(t, is, s.State == roster.Failed)
		equal(t, is, s.LastError == "config refused: deny[0]: is not a user ID")
		equal(t, 0, s.Workers)
	}
	refused(true)
	m.Timeout = time.Minute
	r.Configure([]config.Module{m}, 2*time.Second, start)
	refused(true)
	m.Config = json.RawMessage(`{"deny":["@evil:example.com"]}`)
	r.Configure([]config.Module{m}, 2*time.Second, start)
	refused(false)
	equal(t, roster.Starting, status(t, r, "gate").State)
}

func TestWorkerThatRefusesANewConfigurationGoesOnWithTheOld(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	refusal := join("1", createRoom)
	refusal.ConfigError = &rosterv1.ConfigError{Error: "no"}
	r.Join("gate", refusal, start)
	s := status(t, r, "gate")
	equal(t, roster.Ready, s.State)
	equal(t, "config refused: no", s.LastError)
	r.Join("gate", join("1", createRoom), start)
	equal(t, true, status(t, r, "gate").LastErrorOver)
}

func TestCrashIsToldUntilAWorkerIsBack(t *testing.T) {
	t.Parallel()
	m := listed("gate")
	m.Run = []string{"gate"}
	r := listing(m)
	r.Crashed("gate", "exit status 1", start)
	equal(t, roster.Failed, status(t, r, "gate").State)
	equal(t, "exit status 1", status(t, r, "gate").LastError)
	r.Join("gate", join("2", createRoom), start)
	equal(t, roster.Ready, status(t, r, "gate").State)
	equal(t, true, status(t, r, "gate").LastErrorOver)
	r.Crashed("stranger", "exit status 1", start) // Nobody is there to have crashed.
}

func TestBusdTrustsAnotherUntilModulesJoin(t *testing.T) {
	t.Parallel()
	old := listing(listed("gate"), listed("removed"))
	old.Join("gate", join("1", createRoom, hello), start.Add(time.Minute))
	old.Join("removed", join("1", createRoom), start.Add(time.Minute))
	r := listing(listed("gate"), listed("new"))
	r.Recall(old.Snapshot(), start)
	equal(t, map[string][]string{"gate": {createRoom, hello}, "new": {}}, asked(r))
	equal(t, roster.Absent, status(t, r, "gate").State)
	if r.Snapshot().GetRevision() <= old.Snapshot().GetRevision() {
		t.Error("homeservers that had the other's roster would not take this one")
	}
	r.Join("gate", join("1", checkEvent), start)
	r.Recall(old.Snapshot(), start)
	equal(t, map[string][]string{"gate": {checkEvent}, "new": {}}, asked(r))
}

func TestHostileJoinsAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	r := listing(listed("gate"))
	hostile := &rosterv1.Join{Worker: "1", Version: long, ConfigError: &rosterv1.ConfigError{Path: long, Error: long}}
	for i := range 10_000 {
		hostile.Callbacks = append(hostile.Callbacks, createRoom)
		hostile.WebResources = append(hostile.WebResources, fmt.Sprintf("%s/%d", hello, i))
	}
	got := r.Join("gate", hostile, start)
	says(t, got.GetProblems(), "only the first 256")
	bounded(t, "the roster", proto.Size(r.Snapshot()), 16<<10)
	text, err := json.Marshal(r.Modules())
	if err != nil {
		t.Fatal(err)
	}
	bounded(t, "the status", len(text), 16<<10)
	greedy := join("1", createRoom, checkEvent)
	greedy.Needs = map[string]*rosterv1.Needs{createRoom: {Keys: []*rosterv1.Key{{Value: long}}}}
	says(t, r.Join("gate", greedy, start).GetProblems(), createRoom, "bytes")
	equal(t, map[string][]string{"gate": {checkEvent, createRoom}}, asked(r)) // It wants to be asked all the same.
	says(t, []string{r.Snapshot().GetModules()[0].GetCallbacks()[1].GetUnserved()}, createRoom, "bytes")
	nonsense := &rosterv1.Join{Worker: "1"}
	for range 10_000 {
		nonsense.Callbacks = append(nonsense.Callbacks, long[:1000])
		nonsense.WebResources = append(nonsense.WebResources, long[:1000])
	}
	bounded(t, "the reply", proto.Size(r.Join("gate", nonsense, start)), 256<<10)
	for _, name := range []string{"", long, "w\n1  gate  yes: it decided", "w\x1b[2J", "w\u009b"} {
		says(t, r.Join("gate", join(name, createRoom), start).GetProblems(), "a worker needs a name")
	}
	equal(t, 1, status(t, r, "gate").Workers)
}

func TestRosterIsBounded(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	for i := range 2000 {
		r.Join("gate", join(fmt.Sprint("worker-", i)), start.Add(time.Duration(i)))
	}
	equal(t, 1024, status(t, r, "gate").Workers)
	r.Join("gate", join("worker-0"), start.Add(2000))
	workers := status(t, r, "gate").WorkerList
	equal(t, 1024, len(workers))
	equal(t, "worker-0", workers[0].Name) // It has taken the place of the one that had been silent for longest.
	for i := range 1000 {
		r.Entry(fmt.Sprint("asks-", i), start)
		r.Join(fmt.Sprint("joins-", i), join("1", createRoom), start)
	}
	bounded(t, "the modules that are reported", len(r.Modules()), 1+64)
}

func bounded(t *testing.T, what string, got, most int) {
	t.Helper()
	if got > most {
		t.Errorf("%s: %d, want %d at most", what, got, most)
	}
}

func TestRosterSaysHowToAsk(t *testing.T) {
	t.Parallel()
	gate := listed("gate")
	gate.Timeout, gate.Hedge, gate.Breaker = 100*365*24*time.Hour, 1500*time.Microsecond, config.Breaker{Failures: 3, Open: time.Minute}
	gate.Callbacks = map[string]config.Override{
		checkEvent: {Timeout: time.Microsecond, Hedge: new(time.Duration(0)), Breaker: &config.Breaker{}},
	}
	r := roster.New()
	r.Evaluate([]string{createRoom})
	r.Configure([]config.Module{gate}, time.Second, start)
	r.Join("gate", join("1", createRoom, checkEvent, registered), start)
	type how struct{ Timeout, Hedge, Failures, Open uint32 }
	got := map[string]how{}
	for _, i := range r.Snapshot().GetModules()[0].GetCallbacks() {
		got[i.GetCallback()] = how{i.GetTimeoutMs(), i.GetHedgeMs(), i.GetBreakerFailures(), i.GetBreakerOpenMs()}
	}
	equal(t, map[string]how{
		createRoom: {math.MaxUint32, 2, 3, 60_000}, // The longest that can be said.
		checkEvent: {1, 0, 0, 5_000},               // The shortest.
		registered: {math.MaxUint32, 0, 3, 60_000}, // Nothing with side effects is asked twice.
	}, got)
	equal(t, []string{createRoom}, r.Snapshot().GetSequential())

	revision := r.Snapshot().GetRevision()
	r.Evaluate(nil)
	r.Configure([]config.Module{gate}, time.Second, start)
	if r.Snapshot().GetRevision() == revision || len(r.Snapshot().GetSequential()) > 0 {
		t.Errorf("still evaluates %v sequentially", r.Snapshot().GetSequential())
	}
}

func TestPathBelowAnEarlierModulesIsNotServed(t *testing.T) {
	t.Parallel()
	const above, below = "/_synapse/client/a", "/_synapse/client/a/b"
	for name, tt := range map[string]struct {
		list []string
		want map[string][]string
	}{
		"the one above is earlier": {[]string{"above", "below"}, map[string][]string{"above": {above}, "below": {"/_synapse/client/ab"}}},
		"the one below is earlier": {[]string{"below", "above"}, map[string][]string{"above": {above}, "below": {below, "/_synapse/client/ab"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := listing(listed(tt.list[0]), listed(tt.list[1]))
			r.Join("above", join("1", above), start)
			r.Join("below", join("1", below, "/_synapse/client/ab"), start)
			if diff := cmp.Diff(tt.want, asked(r)); diff != "" {
				t.Error(diff)
			}
			said := strings.Join(status(t, r, "below").Problems, "\n")
			if lost := len(tt.want["below"]) == 1; lost != strings.Contains(said, "or list below before it") {
				t.Errorf("said: %s", said)
			}
		})
	}
}
