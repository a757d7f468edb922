package roster_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// naming is a listed module with these callbacks under its callbacks.
func naming(name string, callbacks ...string) config.Module {
	m := listed(name)
	m.Callbacks = map[string]config.Override{}
	for _, c := range callbacks {
		m.Callbacks[c] = config.Override{OnFailure: &config.Policy{Local: config.Refuse, Federated: config.Refuse}}
	}
	return m
}

// refusal is what a worker says whose configuration was refused before it registered anything.
func refusal(worker string) *rosterv1.Join {
	return &rosterv1.Join{Worker: worker, ConfigError: &rosterv1.ConfigError{Path: "denny", Error: "is unknown"}}
}

// restarted is the roster of a busd that starts with the roster of one before it.
func restarted(r *roster.Roster, modules ...config.Module) *roster.Roster {
	next := listing(modules...)
	next.Recall(r.Snapshot(), start)
	return next
}

func TestNamedCallbackIsWantedBeforeItsModuleHasJoined(t *testing.T) {
	t.Parallel()
	r := listing(naming("gate", createRoom))
	equal(t, map[string][]string{"gate": {createRoom}}, asked(r))
	i := r.Snapshot().GetModules()[0].GetCallbacks()[0]
	equal(t, true, i.GetNamed())
	equal(t, callbacksv1.OnFailure_REFUSE, i.GetOnFailure())
	r.Join("gate", refusal("1"), start)
	equal(t, map[string][]string{"gate": {createRoom}}, asked(r))
	equal(t, roster.Failed, status(t, r, "gate").State)
	r.Join("gate", join("1", createRoom, checkEvent), start)
	equal(t, map[string][]string{"gate": {checkEvent, createRoom}}, asked(r))
	equal(t, false, r.Snapshot().GetModules()[0].GetCallbacks()[1].GetNamed())
}

func TestCategoryThatIsRegisteredWholeIsNamedWhole(t *testing.T) {
	t.Parallel()
	equal(t, map[string][]string{"presence": {interested, states}}, asked(listing(naming("presence", states))))
}

func TestModuleThatDoesNotRegisterWhatIsNamedIsNotAskedItAndThatIsSeen(t *testing.T) {
	t.Parallel()
	r := listing(naming("gate", createRoom))
	got := r.Join("gate", join("1", checkEvent), start)
	says(t, got.GetProblems(), createRoom, "named", "not asked")
	says(t, status(t, r, "gate").Problems, createRoom, "named", "not asked")
	equal(t, map[string][]string{"gate": {checkEvent}}, asked(r))
	r.Leave("gate", "1", start)
	equal(t, map[string][]string{"gate": {checkEvent}}, asked(r)) // It said so.
	equal(t, map[string][]string{"gate": {checkEvent}}, asked(restarted(r, naming("gate", createRoom))))
	// It has not said anything of what is named after it has gone.
	r.Configure([]config.Module{naming("gate", createRoom, registered)}, time.Second, start)
	equal(t, map[string][]string{"gate": {registered, checkEvent}}, asked(r))
}

func TestModuleWhoseConfigIsRefusedAfterARestartIsAskedWhatItRegisteredBefore(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	r.Join("gate", join("1", createRoom, hello), start)
	typo := listed("gate")
	typo.Config = json.RawMessage(`{"denny":[]}`)
	r = restarted(r, typo)
	r.Join("gate", refusal("2"), start)
	equal(t, map[string][]string{"gate": {createRoom, hello}}, asked(r))
	s := status(t, r, "gate")
	equal(t, roster.Failed, s.State)
	equal(t, true, s.Remembered)
	equal(t, false, s.Well())
	r = restarted(r, typo) // And again.
	equal(t, map[string][]string{"gate": {createRoom, hello}}, asked(r))
}

func TestModuleThatIsTakenOffTheListIsForgotten(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	r.Join("gate", join("1", createRoom), start)
	r.Leave("gate", "1", start)
	r.Configure(nil, time.Second, start)
	r.Configure([]config.Module{listed("gate")}, time.Second, start)
	equal(t, map[string][]string{"gate": {}}, asked(r))
	named := listing(naming("gate", createRoom))
	equal(t, map[string][]string{"gate": {}}, asked(restarted(named, listed("gate")))) // Nor is what is named no more.
}

func TestModuleThatHasWhatItNeedsRefusedIsAbsentForItAndNotForgotten(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	j := join("1", createRoom, checkEvent)
	j.Needs = map[string]*rosterv1.Needs{checkEvent: {State: &rosterv1.StateFilter{}}}
	for i := range 500 {
		j.Needs[checkEvent].State.Keys = append(j.Needs[checkEvent].State.Keys, &rosterv1.StateKey{Type: fmt.Sprint("org.example.", i)})
	}
	says(t, r.Join("gate", j, start).GetProblems(), checkEvent, "bytes", "absent")
	for range 2 {
		interests := r.Snapshot().GetModules()[0].GetCallbacks()
		equal(t, true, interests[0].GetUnserved() != "" && interests[0].GetCallback() == checkEvent)
		equal(t, "", interests[1].GetUnserved())
		r = restarted(r, listed("gate"))
	}
}

func TestCallbackBehindManyUnknownOnesIsAskedAllTheSame(t *testing.T) {
	t.Parallel()
	j := join("1")
	for i := range 10_000 {
		j.Callbacks = append(j.Callbacks, fmt.Sprint("unknown-", i))
	}
	j.Callbacks = append(j.Callbacks, createRoom)
	r := listing(listed("gate"))
	says(t, r.Join("gate", j, start).GetProblems(), "more")
	equal(t, map[string][]string{"gate": {createRoom}}, asked(r))
}

func TestWorkersOfOneModuleCannotFillTheRosterOfAll(t *testing.T) {
	t.Parallel()
	r := listing(listed("greedy"), listed("gate"))
	for w := range 40 {
		j := join(fmt.Sprint("worker-", w), createRoom, checkEvent)
		j.Needs = map[string]*rosterv1.Needs{checkEvent: {State: &rosterv1.StateFilter{Keys: []*rosterv1.StateKey{{Type: strings.Repeat("x", 3000) + strconv.Itoa(w)}}}}}
		for p := range 256 {
			j.WebResources = append(j.WebResources, fmt.Sprintf("%s/%d/%d/%s", hello, w, p, strings.Repeat("x", 180)))
		}
		r.Join("greedy", j, start)
	}
	bounded(t, "the roster", proto.Size(r.Snapshot()), 512<<10)
	bounded(t, "the paths", len(r.Snapshot().GetModules()[0].GetWebResources()), 256)
	says(t, r.Join("greedy", join("worker-39", createRoom), start).GetProblems(), "workers do not all register the same")
	r.Join("gate", join("1", createRoom), start)
	equal(t, []string{createRoom}, asked(r)["gate"])
	equal(t, []string{checkEvent, createRoom}, asked(r)["greedy"][:2]) // What it wants to be asked is never lost.
}

func TestModuleThatFindsNoRoomInTheRosterIsAbsentAndThatIsSeen(t *testing.T) {
	t.Parallel()
	r := listing(listed("large"), listed("gate"))
	r.SetRoom(2 << 10)
	j := join("1", createRoom)
	for p := range 100 {
		j.WebResources = append(j.WebResources, fmt.Sprint(hello, "/", p))
	}
	says(t, r.Join("large", j, start).GetProblems(), "does not fit", "absent")
	r.Join("gate", join("1", createRoom), start)
	large := r.Snapshot().GetModules()[0]
	equal(t, createRoom, large.GetCallbacks()[0].GetCallback())
	equal(t, true, large.GetCallbacks()[0].GetUnserved() != "")
	s := status(t, r, "large")
	equal(t, false, s.Well())
	says(t, s.Problems, "does not fit")
	gate := status(t, r, "gate")
	equal(t, true, gate.Well())
	equal(t, "", r.Snapshot().GetModules()[1].GetCallbacks()[0].GetUnserved())
}

func TestJoinsOfNamesThatAreNotListedTakeLittleRoom(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	for i := range 2384 {
		j := join(fmt.Sprint("worker-", i), createRoom)
		for p := range 256 {
			j.WebResources = append(j.WebResources, fmt.Sprintf("%s/%d/%d/%s", hello, i, p, strings.Repeat("x", 180)))
		}
		r.Join(fmt.Sprint("guest-", i%100), j, start)
	}
	text, err := json.Marshal(r.Modules())
	if err != nil {
		t.Fatal(err)
	}
	bounded(t, "the status", len(text), 400<<10)
}

func TestWorkerThatMayNotSubscribeIsSeen(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	deaf := join("1", createRoom, checkEvent)
	deaf.Unserved = map[string]string{createRoom: "permissions violation\nfor subscription"}
	says(t, r.Join("gate", deaf, start).GetProblems(), createRoom, "cannot be asked", "permissions violation for subscription")
	s := status(t, r, "gate")
	equal(t, roster.Ready, s.State)
	equal(t, false, s.Well())
	says(t, []string{s.LastError}, createRoom, "permissions violation")
	equal(t, map[string][]string{"gate": {checkEvent, createRoom}}, asked(r)) // So it is absent for it.
	r.Join("gate", join("2", createRoom, checkEvent), start)
	s = status(t, r, "gate")
	equal(t, true, s.Well()) // Another worker hears it.
	equal(t, "", s.LastError)
}

func TestBusdLearnsFromAnotherWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	one, other := listing(listed("gate"), listed("own")), listing(listed("gate"))
	one.Join("gate", join("1", createRoom), start)
	other.Learn(one.Snapshot(), start)
	equal(t, map[string][]string{"gate": {createRoom}}, asked(other))
	other.Join("gate", join("1", checkEvent), start)
	other.Learn(one.Snapshot(), start)
	equal(t, map[string][]string{"gate": {checkEvent}}, asked(other)) // What it knows itself stands.
}

func TestRosterOfABusdThatKnowsLessIsNotTheLastWord(t *testing.T) {
	t.Parallel()
	one := listing(listed("gate"))
	one.Join("gate", join("1", createRoom), start)
	lesser := listing(listed("gate"))
	lesser.Configure([]config.Module{listed("gate")}, time.Second, start.Add(time.Minute))
	one.Learn(lesser.Snapshot(), start.Add(time.Minute))
	if one.Snapshot().GetRevision() <= lesser.Snapshot().GetRevision() {
		t.Error("homeservers go by a roster without what the module wants")
	}
	before := one.Snapshot()
	lesser.Learn(before, start.Add(time.Minute))
	one.Learn(lesser.Snapshot(), start.Add(time.Minute))
	equal(t, before, one.Snapshot()) // They agree now.
}

func TestRevisionFromTheFutureIsNotContinued(t *testing.T) {
	t.Parallel()
	forged := &rosterv1.Roster{Revision: 1 << 62, Modules: []*rosterv1.Module{{Name: "gate"}}}
	r := listing(listed("gate"))
	r.Join("gate", join("1", createRoom), start)
	r.Learn(forged, start)
	r.Recall(forged, start)
	bounded(t, "milliseconds into the future", int(r.Snapshot().GetRevision())-int(start.UnixMilli()), 60_000)
	equal(t, map[string][]string{"gate": {createRoom}}, asked(r))
}

// model is what of a module must not be forgotten, kept in the plainest way.
type model struct {
	named   []string
	workers map[string][]string
	last    []string
	heard   []string // named while a worker was there to say what it registers
}

func (m *model) settle() {
	if len(m.workers) == 0 {
		return
	}
	m.last = nil
	for _, callbacks := range m.workers {
		m.last = append(m.last, callbacks...)
	}
	m.heard = m.named
}

func (m *model) wants(callback string) bool {
	return slices.Contains(m.last, callback) || slices.Contains(m.named, callback) && !slices.Contains(m.heard, callback)
}

// story is a roster, and beside it what must not be forgotten.
type story struct {
	*roster.Roster
	list map[string]*model
}

var (
	oneOrTwo    = rapid.SampledFrom([]string{"one", "two"})
	oneOfAFew   = rapid.SampledFrom([]string{createRoom, checkEvent, registered})
	someOfAFew  = rapid.SliceOfNDistinct(oneOfAFew, 0, 3, rapid.ID[string])
	firstOrLast = rapid.SampledFrom([]string{"a", "b"})
)

func (s *story) configured() (all []config.Module) {
	for _, name := range []string{"one", "two"} {
		if m := s.list[name]; m != nil {
			all = append(all, naming(name, m.named...))
		}
	}
	return all
}

func (s *story) enlist(t *rapid.T) {
	name := oneOrTwo.Draw(t, "module")
	if s.list[name] == nil {
		s.list[name] = &model{workers: map[string][]string{}}
	}
	s.list[name].named = someOfAFew.Draw(t, "named")
	s.list[name].settle()
	s.Configure(s.configured(), time.Second, start)
}

func (s *story) takeOff(t *rapid.T) {
	name := oneOrTwo.Draw(t, "module")
	if m := s.list[name]; m != nil {
		for id := range m.workers {
			s.Leave(name, id, start)
		}
	}
	delete(s.list, name)
	s.Configure(s.configured(), time.Second, start)
}

// listed draws a module that is listed, and one of its workers.
func (s *story) listed(t *rapid.T) (name, worker string, m *model) {
	name, worker = oneOrTwo.Draw(t, "module"), firstOrLast.Draw(t, "worker")
	if m = s.list[name]; m == nil {
		t.Skip("it is not listed")
	}
	return name, worker, m
}

func (s *story) join(t *rapid.T) {
	name, id, m := s.listed(t)
	callbacks := someOfAFew.Draw(t, "registers")
	s.Join(name, join(id, callbacks...), start)
	m.workers[id] = callbacks
	m.settle()
}

// gone takes a worker away in some way.
func (s *story) gone(how func(name, id string)) func(*rapid.T) {
	return func(t *rapid.T) {
		name, id, m := s.listed(t)
		how(name, id)
		delete(m.workers, id)
		m.settle()
	}
}

func (s *story) startAgain(*rapid.T) {
	s.Roster = restarted(s.Roster, s.configured()...)
	for _, m := range s.list {
		m.workers = map[string][]string{}
	}
}

func (s *story) check(t *rapid.T) {
	got := asked(s.Roster)
	for name, m := range s.list {
		for _, callback := range []string{createRoom, checkEvent, registered} {
			if m.wants(callback) != slices.Contains(got[name], callback) {
				t.Fatalf("module %s: %s is wanted: %v, and the roster has %v", name, callback, m.wants(callback), got[name])
			}
		}
	}
}

func TestListedModuleIsNeverForgotten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &story{Roster: listing(), list: map[string]*model{}}
		t.Repeat(map[string]func(*rapid.T){
			"list":        s.enlist,
			"take off":    s.takeOff,
			"join":        s.join,
			"refuse":      s.gone(func(name, id string) { s.Join(name, refusal(id), start) }),
			"leave":       s.gone(func(name, id string) { s.Leave(name, id, start) }),
			"crash":       func(t *rapid.T) { s.Crashed(oneOrTwo.Draw(t, "module"), "exit status 1", start) },
			"start again": s.startAgain,
			"":            s.check,
		})
	})
}

func TestModuleThatFailsWhatItIsAskedIsReadyAndNotWell(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"), listed("other"))
	r.Join("gate", join("1", createRoom), start)
	r.Join("other", join("1", createRoom), start)
	at := start.Add(time.Minute)
	for _, row := range []struct {
		failing roster.Failing
		well    bool
	}{
		{roster.Failing{InARow: 1, Recent: true}, true},
		{roster.Failing{InARow: 5, Recent: true}, false},
		{roster.Failing{InARow: 2, Open: true, Recent: true}, false},
		{roster.Failing{InARow: 50, Open: true}, true}, // Nobody has asked it for long.
	} {
		row.failing.Callback, row.failing.Failure, row.failing.At = createRoom, "timeout", at
		r.Watch(func() map[string][]roster.Failing { return map[string][]roster.Failing{"gate": {row.failing}} })
		s, other := status(t, r, "gate"), status(t, r, "other")
		equal(t, roster.Ready, s.State)
		equal(t, row.well, s.Well())
		equal(t, true, other.Well())
		equal(t, at, s.LastErrorAt)
		says(t, []string{s.LastError}, createRoom, "timeout", "in a row")
		equal(t, []roster.Failing{row.failing}, s.Failing)
	}
}

func TestModuleIsNotFailingForWhatEarlierWorkersDid(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	r.Join("gate", join("1", createRoom), start)
	r.Join("gate", join("2", createRoom), start)
	failed := roster.Failing{Callback: createRoom, Failure: "timeout", At: start.Add(time.Minute), InARow: 5, Recent: true}
	r.Watch(func() map[string][]roster.Failing { return map[string][]roster.Failing{"gate": {failed}} })
	well := func(is bool) {
		t.Helper()
		s := status(t, r, "gate")
		equal(t, is, s.Well())
		equal(t, is, len(s.Failing) == 0)
		equal(t, is, !s.Troubled())
	}
	well(false)
	r.Leave("gate", "1", start.Add(2*time.Minute))
	r.Join("gate", join("3", createRoom), start.Add(2*time.Minute))
	well(false)
	r.Leave("gate", "2", start.Add(2*time.Minute))
	well(true)
	failed.Open = true // The client still leaves it alone.
	well(false)
}

func TestProcessThatIsNotStartedAgainIsNoRestart(t *testing.T) {
	t.Parallel()
	m := listed("gate")
	m.Run = []string{"gate"}
	r := listing(m)
	r.Join("gate", join("1", createRoom), start)
	r.Crashed("gate", "exit status 1", start)
	r.Missing("gate", "its process ended: exit status 78", start)
	s := status(t, r, "gate")
	equal(t, 1, s.Restarts)
	equal(t, "its process ended: exit status 78", s.LastError)
}

func TestStatusTellsSinceWhenAndHowOften(t *testing.T) {
	t.Parallel()
	m := listed("gate")
	m.Run = []string{"gate"}
	r := listing(m)
	equal(t, start, status(t, r, "gate").Since)
	crashed, joined := start.Add(time.Second), start.Add(2*time.Second)
	r.Crashed("gate", "exit status 1", crashed)
	r.Join("gate", join("a", createRoom), joined)
	r.Join("gate", join("a", createRoom), joined.Add(roster.JoinEvery))
	s := status(t, r, "gate")
	equal(t, roster.Ready, s.State)
	equal(t, joined, s.Since)
	equal(t, 1, s.Restarts)
	equal(t, crashed, s.LastErrorAt)
	equal(t, []roster.Worker{{Name: "a", Version: "1.2.3", Since: joined}}, s.WorkerList)
	equal(t, false, s.Remembered)
	r.Leave("gate", "a", joined.Add(time.Minute))
	s = status(t, r, "gate")
	equal(t, joined.Add(time.Minute), s.Since)
	equal(t, true, s.Remembered)
}

func TestModuleThatNeverJoinedIsShown(t *testing.T) {
	t.Parallel()
	named := listed("named")
	named.Callbacks = map[string]config.Override{createRoom: {}}
	skipped := listed("skipped")
	skipped.OnFailure = &config.Policy{Local: config.Skip, Federated: config.Skip}
	r := listing(listed("gate"), named, skipped)
	var noted []bool // by each decision
	for _, m := range r.Snapshot().GetModules() {
		noted = append(noted, m.GetUnknown())
	}
	equal(t, []bool{true, false, false}, noted)
	s := status(t, r, "gate")
	equal(t, true, s.Unknown)
	says(t, s.Problems, "nobody knows what it wants", "name under its callbacks")
	says(t, []string{s.LastError}, "no worker has joined", "nobody knows what it wants")
	equal(t, false, status(t, r, "named").Unknown) // The operator knows.

	r.Join("gate", join("1"), start) // It wants nothing, which is known then, here and wherever its roster goes.
	r.Leave("gate", "1", start)
	equal(t, false, status(t, r, "gate").Unknown)
	again := listing(listed("gate"))
	again.Recall(r.Snapshot(), start)
	equal(t, false, status(t, again, "gate").Unknown)
}

func TestProcessThatEndsOfAKnownModuleIsNotAwaited(t *testing.T) {
	t.Parallel()
	m := listed("gate")
	m.Run = []string{"gate"}
	known := listing(m)
	known.Join("gate", join("1", createRoom), start)
	r := listing(m)
	r.Recall(known.Snapshot(), start)
	r.Crashed("gate", "exit status 1", start)
	equal(t, false, r.Expects(roster.Started)) // It is absent for what it wants.
	refused := listing(m)
	refused.Join("gate", &rosterv1.Join{Worker: "1", ConfigError: &rosterv1.ConfigError{Error: "no"}}, start)
	refused.Crashed("gate", "exit status 78", start)
	equal(t, false, refused.Expects(roster.Started))
}
