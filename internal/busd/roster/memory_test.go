package roster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/freeport"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// remember opens the memory of a folder.
func remember(t *testing.T, folder string) *roster.Memory {
	t.Helper()
	m, err := roster.OpenMemory(folder, serverName)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// keep has a memory keep what the roster knows.
func keep(t *testing.T, m *roster.Memory, r *roster.Roster) {
	t.Helper()
	if err := m.Keep(r.Snapshot()); err != nil {
		t.Fatal(err)
	}
}

// again is the roster of a busd that starts with what is in the folder.
func again(t *testing.T, folder string, modules ...config.Module) *roster.Roster {
	t.Helper()
	r := listing(modules...)
	r.Recall(remember(t, folder).Earlier(), time.Now())
	return r
}

func TestBusdThatStartsAgainKnowsWhatModulesRegistered(t *testing.T) {
	t.Parallel()
	folder, home := t.TempDir(), natstest.InProcess(t)
	s := &stage{T: t, Roster: listing(listed("gate"), listed("new")), home: home, nc: natstest.Connect(t, home)}
	service, err := roster.Prepare(s.Roster, roster.Options{Conn: s.nc, ServerName: serverName, Memory: remember(t, folder)})
	if err != nil {
		t.Fatal(err)
	}
	needs := join("1", createRoom, checkEvent, hello)
	needs.Needs = map[string]*rosterv1.Needs{checkEvent: {State: &rosterv1.StateFilter{All: true}}}
	s.tell(subject.Join("gate"), needs, &rosterv1.Joined{})
	service.Close() // A busd that is killed has kept it before anybody heard of it.
	r := again(t, folder, listed("gate"), listed("new"))
	equal(t, map[string][]string{"gate": {checkEvent, createRoom, hello}, "new": {}}, asked(r))
	equal(t, needs.GetNeeds()[checkEvent], r.Snapshot().GetModules()[0].GetCallbacks()[0].GetNeeds())
	equal(t, true, r.Snapshot().GetRevision() > s.Snapshot().GetRevision())
	equal(t, map[string][]string{"new": {}}, asked(again(t, folder, listed("new"))))
}

func TestMemoryIsWrittenWhenItChangesAndWhenItIsGone(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	m, r := remember(t, folder), listing(listed("gate"))
	file := func() string {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil || len(names) != 1 {
			t.Fatalf("the folder has %q, %v", names, err)
		}
		info, err := os.Stat(names[0])
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info.Mode(), err)
		}
		return names[0]
	}
	r.Join("gate", join("1", createRoom), start)
	keep(t, m, r)
	if err := os.WriteFile(file(), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Join("gate", join("2", createRoom), start) // That workers come and go needs no write.
	keep(t, m, r)
	equal(t, map[string][]string{"gate": {}}, asked(again(t, folder, listed("gate"))))
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	keep(t, m, r)
	file()
	equal(t, map[string][]string{"gate": {createRoom}}, asked(again(t, folder, listed("gate"))))
}

func TestMemoryThatCannotBeReadEndsTheStart(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	keep(t, remember(t, folder), listing(listed("gate")))
	names, _ := filepath.Glob(filepath.Join(folder, "*")) // The pattern is well formed.
	if err := os.WriteFile(names[0], []byte(`{"modules": [{"na`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := roster.OpenMemory(folder, serverName)
	says(t, []string{fmt.Sprint(err)}, "state_dir", "remove "+names[0])
	if _, err := roster.OpenMemory(folder, "example.org"); err != nil {
		t.Errorf("another server's file is in the way: %v", err)
	}
}

func TestMemoryThatCannotBeWrittenIsTold(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "file")
	m := remember(t, folder)
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Keep(listing(listed("gate")).Snapshot()); err == nil {
		t.Error("nothing says that the roster was not kept")
	}
	var none *roster.Memory
	if err := none.Keep(listing().Snapshot()); err != nil {
		t.Errorf("no memory fails to keep: %v", err)
	}
}

func TestRosterLargerThanAMessageIsToldInParts(t *testing.T) {
	t.Parallel()
	home := &natstest.Home{Servers: []*server.Server{natstest.Start(t, &server.Options{DontListen: true, MaxPayload: 32 << 10})}}
	s := &stage{T: t, Roster: listing(listed("large"), listed("gate")), home: home, nc: natstest.Connect(t, home)}
	told := s.listen(subject.RosterChanged())
	s.Service = s.serve(s.Roster)
	for w := range 4 {
		j := join(strconv.Itoa(w), createRoom)
		for p := range 60 {
			j.WebResources = append(j.WebResources, fmt.Sprintf("%s/%d/%d/%s", hello, w, p, strings.Repeat("x", 180)))
		}
		s.tell(subject.Join("large"), j, &rosterv1.Joined{})
	}
	s.tell(subject.Join("gate"), join("1", checkEvent), &rosterv1.Joined{})
	if size := proto.Size(s.Snapshot()); size <= 32<<10 {
		t.Fatalf("the roster has %d bytes", size)
	}
	got, err := rosterwire.Fetch(t.Context(), s.nc, subject.Roster(), 0)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, s.Snapshot(), got)
	var parts rosterwire.Assembler
	for heard := (&rosterv1.Roster{}); heard.GetRevision() < s.Snapshot().GetRevision(); {
		m, err := told.NextMsgWithContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r, err := parts.Add(m.Data); err != nil {
			t.Fatal(err)
		} else if r != nil {
			heard = r
		}
	}
}

func TestBusdThatStartsLaterLearnsOverNATS(t *testing.T) {
	t.Parallel()
	s := serve(t, listed("gate"))
	second := listing(listed("gate"))
	s.serve(second)
	s.tell(subject.Leave("gate"), &rosterv1.Leave{Worker: "nobody"}, &rosterv1.Joined{})
	s.Join("gate", join("1", createRoom), time.Now()) // The second does not hear of it.
	rosters := s.listen(subject.RosterChanged())
	s.Wake()
	for asked(second)["gate"] == nil || len(asked(second)["gate"]) == 0 {
		hear(t, rosters, &rosterv1.Roster{})
	}
	equal(t, map[string][]string{"gate": {createRoom}}, asked(second))
}

func TestRosterThatIsMadeWhileNATSIsAwayIsToldWhenItIsBack(t *testing.T) {
	t.Parallel()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	home := &natstest.Home{Servers: []*server.Server{natstest.Start(t, &server.Options{Port: port})}}
	s := &stage{T: t, Roster: listing(listed("gate")), home: home, nc: natstest.Connect(t, home)}
	s.Service = s.serve(s.Roster)
	rosters := s.listen(subject.RosterChanged())
	home.Servers[0].Shutdown()
	home.Servers[0].WaitForShutdown()
	s.Join("gate", join("1", createRoom), time.Now())
	s.Wake()
	natstest.Start(t, &server.Options{Port: port})
	for r := (&rosterv1.Roster{}); len(r.GetModules()) == 0 || len(r.GetModules()[0].GetCallbacks()) == 0; {
		hear(t, rosters, r)
	}
}
