package roster_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// churn has a worker join and leave, that often, without waiting for answers.
func (s *stage) churn(module string, often int) {
	s.Helper()
	for range often {
		for to, m := range map[string]proto.Message{
			subject.Join(module): join("1", createRoom), subject.Leave(module): &rosterv1.Leave{Worker: "1"},
		} {
			data, err := proto.Marshal(m)
			if err != nil {
				s.Fatal(err)
			}
			if err := s.nc.Publish(to, data); err != nil {
				s.Fatal(err)
			}
		}
	}
}

func TestModuleThatJoinsInALoopIsTurnedDownAlone(t *testing.T) {
	t.Parallel()
	said := &waittest.Log{}
	s := &stage{T: t, Roster: listing(listed("loop"), listed("gate")), home: natstest.InProcess(t)}
	s.nc = natstest.Connect(t, s.home)
	service, err := roster.Serve(natstest.Connect(t, s.home), serverName, s.Roster, zerolog.New(said))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	const header = "Nats-Service-Error"
	waittest.Until(t, "the module is turned down", func() bool {
		s.churn("loop", 1000)
		m := s.ask(subject.Entry("loop"), "", nil)
		return m.Header.Get(header+"-Code") == "429" && strings.Contains(m.Header.Get(header), "in a loop")
	})
	joined := &rosterv1.Joined{}
	s.tell(subject.Join("gate"), join("1", createRoom), joined)
	equal(t, &rosterv1.Joined{Listed: true}, joined)
	equal(t, 1, said.Count("too often"))
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(service)
	families, err := metrics.Gather()
	if err != nil || families[0].GetMetric()[0].GetCounter().GetValue() < 1 {
		t.Errorf("messages that were not taken are not counted: %v, %v", families, err)
	}
	waittest.Until(t, "the module is heard when it has been silent", func() bool {
		return s.ask(subject.Entry("loop"), "", nil).Header.Get(header+"-Code") == ""
	})
}

func TestRostersAreToldAtAPace(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("loop"))
	rosters := s.listen(subject.RosterChanged())
	began := time.Now()
	for range 60 { // One after the other: of changes that come at once, only the last is told anyway.
		s.tell(subject.Join("loop"), join("1", createRoom), &rosterv1.Joined{})
		s.tell(subject.Leave("loop"), &rosterv1.Leave{Worker: "1"}, &rosterv1.Joined{})
	}
	s.tell(subject.Join("loop"), join("last", createRoom), &rosterv1.Joined{})
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	heard, _, err := rosters.Pending()
	if err != nil {
		t.Fatal(err)
	}
	const atOnce, eachSecond = 50, 20
	if most := atOnce + eachSecond*int(time.Since(began)/time.Second+1); heard > most {
		t.Errorf("homeservers were told %d rosters, and %d are the most", heard, most)
	}
	latest := &rosterv1.Roster{}
	for hear(t, rosters, latest); !slices.Contains(rosterwire.Modules(latest)[0].GetWorkers(), "last"); {
		hear(t, rosters, latest) // What was last is told.
	}
}

// TestModulesThatNobodyHeardOfAreCountedTogether has more names than are counted each by itself.
func TestModulesThatNobodyHeardOfAreCountedTogether(t *testing.T) {
	t.Parallel()
	voices, now := roster.NewThrottle(zerolog.Nop()), time.Now()
	for i := range roster.MaxVoices {
		voices.Allows("a"+strconv.Itoa(i), now)
	}
	allowed := 0
	for i := range 2 * roster.MaxSaidAtOnce {
		if voices.Allows("b"+strconv.Itoa(i), now) {
			allowed++
		}
	}
	equal(t, roster.MaxSaidAtOnce, allowed)
	later := now.Add(time.Hour)
	if !voices.Allows("c", later) || voices.Count() > 1 {
		t.Errorf("an hour later, %d are remembered", voices.Count())
	}
}
