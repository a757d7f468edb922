package roster_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// until waits until it is so.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for late := time.After(time.Minute); !is(); {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

func TestBusdKnowsWhichOthersHaveAnotherList(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	same, other := listing(listed("gate")), listing(listed("gate"), listed("other"))
	s.serve(same)
	second := s.serve(other)
	until(t, "each knows the others", func() bool {
		return s.Others().Same == 1 && len(s.Others().Differing) == 1 && len(same.Others().Differing) == 1 && len(other.Others().Differing) == 2
	})
	equal(t, map[string]float64{"same": 1, "other": 1}, gauges(t, s.Roster, "modulebus_other_busd"))
	since := s.Others().Since
	other.Configure([]config.Module{listed("gate")}, 2*time.Second, start)
	until(t, "they agree", func() bool { return s.Others().Same == 2 && other.Others().Same == 2 })
	if since.IsZero() || !s.Others().Since.IsZero() {
		t.Errorf("they differed since %v, and now since %v", since, s.Others().Since)
	}
	second.Close()
	until(t, "one is gone", func() bool { return s.Others().Same == 1 })
}

func TestListIsTheSameWhereOnlyTheMachineDiffers(t *testing.T) {
	t.Parallel()
	m := listed("gate")
	there := m
	there.Run, there.Workers, there.Environment = []string{"gate"}, 3, []string{"HOME"}
	s := serve(t, m)
	same := listing(there)
	s.serve(same)
	until(t, "they know each other", func() bool { return s.Others().Same == 1 && same.Others().Same == 1 })
}

// A homeserver that asks for a later roster is answered as ever.
func TestOnlyABusdIsToldWhoAnswers(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	if m := s.ask(subject.Roster(), "", []byte("18446744073709551614")); len(m.Data) > 0 {
		t.Errorf("a homeserver is answered %q", m.Data)
	}
	card := &rosterv1.Roster{}
	if err := proto.Unmarshal(s.ask(subject.Roster(), "", []byte("18446744073709551615")).Data, card); err != nil {
		t.Fatal(err)
	}
	if card.GetBusd() == "" || card.GetList() == 0 || card.GetRevision() != 0 {
		t.Errorf("another busd is answered %v", card)
	}
}

// One connection hears both, so the order in which it hears them is the one in which they were said.
func TestWorkerIsToldThatItJoinedAfterHomeserversAre(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	roster := &rosterv1.Roster{}
	rosters := s.listen(subject.RosterChanged())
	inbox := s.listen(s.nc.NewInbox())
	heard := s.listen(">")
	data, err := proto.Marshal(join("1", createRoom))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.nc.PublishRequest(subject.Join("gate"), inbox.Subject, data); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := heard.NextMsgWithContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch m.Subject {
		case rosters.Subject:
			if err := proto.Unmarshal(m.Data, roster); err != nil {
				t.Fatal(err)
			}
		case inbox.Subject:
			if workers := roster.GetModules()[0].GetWorkers(); len(workers) != 1 {
				t.Errorf("when the worker is told, homeservers know of %v", workers)
			}
			return
		}
	}
}

func TestModulePullsWhereAllItsWorkersDo(t *testing.T) {
	t.Parallel()
	r := listing(listed("gate"))
	pulls := func(worker string, does bool) bool {
		j := join(worker, createRoom)
		j.Pulls = does
		r.Join("gate", j, start)
		return r.Snapshot().GetModules()[0].GetPulls()
	}
	if !pulls("1", true) || pulls("2", false) || !pulls("2", true) {
		t.Error("it pulls although a worker does not, or does not although all do")
	}
	again := listing(listed("gate"))
	again.Recall(r.Snapshot(), start)
	if !again.Snapshot().GetModules()[0].GetPulls() {
		t.Error("that it pulls is forgotten")
	}
}
