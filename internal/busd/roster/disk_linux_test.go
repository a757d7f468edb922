package roster_test

import (
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/busd/statedir/statedirtest"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// A disk that is mounted for reading only while busd runs holds up nobody, and what was not written is written when it can be.
func TestRosterIsKeptWhenTheDiskCanBeWrittenAgain(t *testing.T) {
	t.Parallel()
	folder, home, log := statedirtest.Disk(t), natstest.InProcess(t), &waittest.Log{}
	s := &stage{T: t, Roster: listing(listed("gate")), home: home, nc: natstest.Connect(t, home)}
	service, err := roster.Prepare(s.Roster, roster.Options{Conn: s.nc, ServerName: serverName, Memory: remember(t, folder), Log: zerolog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	s.tell(subject.Join("gate"), join("1", createRoom), &rosterv1.Joined{})
	statedirtest.Remount(t, folder, syscall.MS_RDONLY)
	for range 3 { // Each is answered.
		s.tell(subject.Join("gate"), join("1", createRoom, checkEvent), &rosterv1.Joined{})
		service.Wake()
	}
	waittest.Until(t, "the log says what to do", func() bool { return log.Has("read-only file system: mount it for writing") })
	statedirtest.Remount(t, folder, 0)
	waittest.Until(t, "the log says that all is well", func() bool { return log.Has("kept again") })
	if n := log.Count("cannot keep"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, log)
	}
	got := asked(again(t, folder, listed("gate")))
	equal(t, map[string][]string{"gate": {checkEvent, createRoom}}, got)
}
