package roster_test

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const serverName = "example.com"

var subject = subjects.For(serverName)

// stage is a roster on NATS, and a connection that talks to it.
type stage struct {
	*testing.T
	*roster.Roster
	*roster.Service
	home *natstest.Home
	nc   *nats.Conn
}

func serve(t *testing.T, modules ...config.Module) *stage {
	t.Helper()
	s := &stage{T: t, Roster: listing(modules...), home: natstest.InProcess(t)}
	s.nc = natstest.Connect(t, s.home)
	s.Service = s.serve(s.Roster)
	return s
}

// serve serves a roster beside those that are served already.
func (s *stage) serve(r *roster.Roster) *roster.Service {
	s.Helper()
	service, err := roster.Serve(natstest.Connect(s, s.home), serverName, r, zerolog.New(zerolog.NewTestWriter(s)))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(service.Close)
	return service
}

// ask returns what is answered to bytes with that content type.
func (s *stage) ask(subject, contentType string, data []byte) *nats.Msg {
	s.Helper()
	m := nats.NewMsg(subject)
	m.Data = data
	if contentType != "" {
		m.Header.Set("Content-Type", contentType)
	}
	reply, err := s.nc.RequestMsgWithContext(s.Context(), m)
	if err != nil {
		s.Fatalf("%s: %v", subject, err)
	}
	return reply
}

// tell asks with a message, and reads the reply.
func (s *stage) tell(subject string, m, reply proto.Message) {
	s.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		s.Fatal(err)
	}
	if err := proto.Unmarshal(s.ask(subject, "", data).Data, reply); err != nil {
		s.Fatal(err)
	}
}

// listen returns what is published to the subject from now on.
func (s *stage) listen(subject string) *nats.Subscription {
	s.Helper()
	sub, err := s.nc.SubscribeSync(subject)
	if err != nil {
		s.Fatal(err)
	}
	if err := s.nc.Flush(); err != nil {
		s.Fatal(err)
	}
	return sub
}

func hear(t *testing.T, sub *nats.Subscription, m proto.Message) {
	t.Helper()
	msg, err := sub.NextMsgWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(msg.Data, m); err != nil {
		t.Fatal(err)
	}
}

func TestModuleJoinsAndLeavesOverNATS(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	rosters := s.listen(subject.RosterChanged())
	entry := &rosterv1.Entry{}
	s.tell(subject.Entry("gate"), &rosterv1.Entry{}, entry)
	equal(t, s.Entry("gate", start), entry)
	joined := &rosterv1.Joined{}
	s.tell(subject.Join("gate"), join("1", createRoom), joined)
	equal(t, &rosterv1.Joined{Listed: true}, joined)
	equal(t, 1, status(t, s.Roster, "gate").Workers)
	for roster := (&rosterv1.Roster{}); len(roster.GetModules()) == 0 || len(roster.GetModules()[0].GetCallbacks()) == 0; {
		hear(t, rosters, roster) // The first one may be from before it joined.
	}
	s.tell(subject.Leave("gate"), &rosterv1.Leave{Worker: "1"}, joined)
	equal(t, roster.Absent, status(t, s.Roster, "gate").State)
}

func TestModuleJoinsInJSON(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	entry := s.ask(subject.Entry("gate"), "application/json", nil)
	equal(t, "application/json", entry.Header.Get("Content-Type"))
	var e struct {
		Listed bool
		Config map[string]any
	}
	if err := json.Unmarshal(entry.Data, &e); err != nil || !e.Listed || e.Config == nil {
		t.Errorf("the entry is %s", entry.Data)
	}
	got := s.ask(subject.Join("gate"), "application/json",
		[]byte(`{"worker": "1", "version": "0.1", "callbacks": ["spam_checker.user_may_create_room", "spam_checker.typo"], "json": true, "later": 1}`))
	var joined struct {
		Listed   bool
		Problems []string
	}
	if err := json.Unmarshal(got.Data, &joined); err != nil || !joined.Listed {
		t.Errorf("joining was answered %s", got.Data)
	}
	says(t, joined.Problems, "spam_checker.typo")
	says(t, joined.Problems, `"later"`, "ignored")
	equal(t, map[string][]string{"gate": {createRoom}}, asked(s.Roster))
	equal(t, true, s.Snapshot().GetModules()[0].GetJson())
	s.ask(subject.Leave("gate"), "application/json", []byte(`{"worker": "1"}`))
	equal(t, 0, status(t, s.Roster, "gate").Workers)
}

func TestJSONWorkerMakesTheModuleGetJSON(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	script := join("script", createRoom)
	script.Json = true
	r.Join("gate", script, start)
	r.Join("gate", join("program", createRoom), start)
	before := r.Snapshot()
	r.Join("gate", join("program", createRoom), start.Add(time.Second))
	r.Join("gate", script, start.Add(2*time.Second))
	r.Join("gate", join("program", createRoom), start.Add(3*time.Second))
	equal(t, before, r.Snapshot()) // It does not flip with whoever joined last.
	equal(t, true, r.Snapshot().GetModules()[0].GetJson())
}

func TestJoinThatCannotBeReadIsAnsweredSo(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	for _, subject := range []string{subject.Join("gate"), subject.Leave("gate")} {
		for contentType, garbage := range map[string]string{"": "\xff\xff", "application/json": `{"worker": 5}`} {
			got := s.ask(subject, contentType, []byte(garbage))
			equal(t, "400", got.Header.Get("Nats-Service-Error-Code"))
			if got.Header.Get("Nats-Service-Error") == "" {
				t.Errorf("%s: nothing says what is wrong with %q", subject, garbage)
			}
		}
	}
	equal(t, 0, status(t, s.Roster, "gate").Workers)
}

// A typo in the name of the field would otherwise say that the module wants to be asked nothing.
func TestJoinWhoseRegistrationIsUnknownIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	known := join("earlier", createRoom)
	s.Join("gate", known, start)
	s.Leave("gate", "earlier", start)
	for contentType, typo := range map[string]string{"": "\x0a\x011\x98\x06\x01", "application/json": `{"worker": "1", "callback": ["spam_checker.user_may_create_room"]}`} {
		got := s.ask(subject.Join("gate"), contentType, []byte(typo))
		if got.Header.Get("Nats-Service-Error-Code") != "400" || !strings.Contains(got.Header.Get("Nats-Service-Error"), "unknown field") {
			t.Errorf("%s was answered %v %s", typo, got.Header, got.Data)
		}
	}
	equal(t, 0, status(t, s.Roster, "gate").Workers)
	equal(t, map[string][]string{"gate": {createRoom}}, asked(s.Roster)) // What it registered before stands.
}

func TestHomeserverGetsTheRosterOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	roster := &rosterv1.Roster{}
	if err := proto.Unmarshal(s.ask(subject.Roster(), "", nil).Data, roster); err != nil {
		t.Fatal(err)
	}
	equal(t, s.Snapshot(), roster)
	have := []byte(strconv.FormatUint(roster.GetRevision(), 10))
	equal(t, 0, len(s.ask(subject.Roster(), "", have).Data))
	s.tell(subject.Join("gate"), join("1", createRoom), &rosterv1.Joined{})
	if len(s.ask(subject.Roster(), "", have).Data) == 0 {
		t.Error("a newer roster is kept back")
	}
}

func TestHomeserversAreToldNothingBeforeModulesCanHaveJoined(t *testing.T) {
	t.Parallel()
	s := &stage{T: t, Roster: listing(listed("gate")), home: natstest.InProcess(t)}
	s.nc = natstest.Connect(t, s.home)
	rosters := s.listen(subject.RosterChanged())
	service, err := roster.Prepare(s.Roster, roster.Options{Conn: natstest.Connect(t, s.home), ServerName: serverName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	service.Wake()
	equal(t, 0, len(s.ask(subject.Roster(), "", nil).Data))
	awaited := make(chan struct{})
	go func() { defer close(awaited); service.AwaitModules(t.Context(), roster.Known) }()
	s.tell(subject.Join("gate"), join("1", createRoom), &rosterv1.Joined{})
	<-awaited
	service.Open()
	roster := &rosterv1.Roster{}
	hear(t, rosters, roster)
	equal(t, s.Snapshot(), roster) // It is the first that is heard of.
	equal(t, createRoom, roster.GetModules()[0].GetCallbacks()[0].GetCallback())
}

func TestModuleIsNotAwaitedForEver(t *testing.T) {
	t.Parallel()
	run := listed("run by busd")
	run.Run = []string{"gate"}
	s := serve(t, run)
	s.AwaitModules(t.Context(), roster.Known) // There is none.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.AwaitModules(ctx, roster.Started)
	s.Crashed("run by busd", "its process ended", start)
	equal(t, true, s.Expects(roster.Started)) // Nobody knows what it wants, and it is started again.
	for range 4 {
		s.Crashed("run by busd", "its process ended", start)
	}
	s.AwaitModules(t.Context(), roster.Started) // It is known not to come soon.
	s.Configure([]config.Module{listed("elsewhere")}, time.Second, start)
	s.AwaitModules(ctx, roster.Joined)
}

func TestModulesAndHomeserversHearOfChanges(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	entries, rosters := s.listen(subject.Changed("gate")), s.listen(subject.RosterChanged())
	m := listed("gate")
	m.Config = json.RawMessage(`{"deny":[]}`)
	changed := s.Configure([]config.Module{m, listed("new")}, 2*time.Second, start.Add(time.Second))
	equal(t, []string{"gate", "new"}, changed)
	s.Changed(changed)
	entry, roster := &rosterv1.Entry{}, &rosterv1.Roster{}
	hear(t, entries, entry)
	equal(t, s.Entry("gate", start), entry)
	for len(roster.GetModules()) < 2 {
		hear(t, rosters, roster)
	}
	equal(t, s.Snapshot(), roster)
}

func TestSecondBusdBeginsWithWhatTheFirstKnows(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	s.tell(subject.Join("gate"), join("1", createRoom), &rosterv1.Joined{})
	second := listing(listed("gate"))
	roster.Recall(s.nc, serverName, second)
	equal(t, map[string][]string{"gate": {createRoom}}, asked(second))
	s.serve(second)
	both := s.listen("both.answer")
	for range 2 {
		if err := s.nc.PublishRequest(subject.Roster(), "both.answer", nil); err != nil {
			t.Fatal(err)
		}
	}
	revisions := map[uint64]bool{}
	for range 4 {
		roster := &rosterv1.Roster{}
		hear(t, both, roster)
		revisions[roster.GetRevision()] = true
	}
	equal(t, map[uint64]bool{s.Snapshot().GetRevision(): true, second.Snapshot().GetRevision(): true}, revisions)
}

func TestBusdThatIsAloneRecallsNothing(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	before := r.Snapshot()
	roster.Recall(natstest.Connect(t, natstest.InProcess(t)), serverName, r)
	equal(t, before, r.Snapshot())
}
