package records_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/freeport"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// TestRecordsThatFillAMessageAreWritten has records of about the size that NATS takes, headers and all.
func TestRecordsThatFillAMessageAreWritten(t *testing.T) {
	t.Parallel()
	const most, asks, step = 8 << 10, 64, 32
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), MaxPayload: most})
	nc := natstest.Connect(t, &natstest.Home{Servers: []*server.Server{s}})
	wanted := all
	wanted.Requests = true
	k := keep(t, nc, wanted)
	for i := range asks {
		observe(t, k.Recorder, 1, func(tr *bus.Trace) {
			tr.Request = &callbacksv1.UserMayCreateRoomRequest{UserId: strings.Repeat("a", most-i*step)}
		})
	}
	k.Close()
	if got := recorded(t, nc); got != asks || k.measured("modulebus_decisions_lost_total") != 0 {
		t.Errorf("%d of %d are written, %v are lost", got, asks, k.measured("modulebus_decisions_lost_total"))
	}
}

// TestRecordsWithTooMuchInThemAreWrittenWithout has a NATS that takes less than a record may have.
func TestRecordsWithTooMuchInThemAreWrittenWithout(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), MaxPayload: 8 << 10})
	nc := natstest.Connect(t, &natstest.Home{Servers: []*server.Server{s}})
	wanted := all
	wanted.Requests = true
	k := keep(t, nc, wanted)
	large := func(tr *bus.Trace) {
		tr.Request = &callbacksv1.UserMayCreateRoomRequest{UserId: strings.Repeat("a", 16<<10)}
	}
	id := observe(t, k.Recorder, 1, large)
	k.Close()
	wantWithoutRequest(t, nc, id)
}

// freePort is a port for a server that comes back: nobody else is given it meanwhile.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// wantWithoutRequest wants the record to be in the stream, without what was asked.
func wantWithoutRequest(t *testing.T, nc *nats.Conn, id string) {
	t.Helper()
	if record, found := find(t, keep(t, nc, all).Recorder, id); !found || record.Request != nil {
		t.Errorf("found %v with %d bytes of request", found, len(record.Request))
	}
}

// TestSmallerMessagesDoNotHoldTheStreamUp has records wait that NATS does not take any more when it is back.
func TestSmallerMessagesDoNotHoldTheStreamUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port := freePort(t)
	s := natstest.Start(t, &server.Options{Port: port, JetStream: true, StoreDir: dir})
	nc := natstest.Connect(t, &natstest.Home{Servers: []*server.Server{s}})
	wanted := all
	wanted.Requests = true
	k := keep(t, nc, wanted)
	eventually(t, "there is a stream", func() bool { return stream(t, nc) != nil })
	s.Shutdown()
	s.WaitForShutdown()
	long := strings.Repeat("a", 16<<10)
	asked := observe(t, k.Recorder, 1, func(tr *bus.Trace) { tr.Request = &callbacksv1.UserMayCreateRoomRequest{UserId: long} })
	observe(t, k.Recorder, 1, func(tr *bus.Trace) { tr.Modules[0].Module = long })
	eventually(t, "they wait", func() bool { return k.log.Has("not written to JetStream") })
	natstest.Start(t, &server.Options{Port: port, JetStream: true, StoreDir: dir, MaxPayload: 8 << 10})
	eventually(t, "one is written", func() bool { info := stream(t, nc); return info != nil && info.State.Msgs == 1 })
	eventually(t, "one is lost", func() bool { return k.measured("modulebus_decisions_lost_total") == 1 })
	k.Close()
	wantWithoutRequest(t, nc, asked)
}

// TestSmallerMessagesDoNotWriteRecordsTwice has a stream that takes records without an answer, and then a NATS that takes no message of
// their size.
func TestSmallerMessagesDoNotWriteRecordsTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port := freePort(t)
	s := natstest.Start(t, &server.Options{Port: port, JetStream: true, StoreDir: dir})
	nc := natstest.Connect(t, &natstest.Home{Servers: []*server.Server{s}})
	c := silentStream()
	if _, err := streams(t, nc).CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	k := keep(t, nc, config.Decisions{})
	s.Shutdown()
	s.WaitForShutdown()
	k.Configure(all)
	const asks = 100
	for range asks { // While NATS is away: they become one message, and not one for those that the writer saw first.
		observe(t, k.Recorder, 1)
	}
	s = natstest.Start(t, &server.Options{Port: port, JetStream: true, StoreDir: dir})
	eventually(t, "all are stored", func() bool { return recorded(t, nc) == asks })
	s.Shutdown()
	s.WaitForShutdown()
	natstest.Start(t, &server.Options{Port: port, JetStream: true, StoreDir: dir, MaxPayload: 4 << 10})
	eventually(t, "the stream answers again", func() bool {
		c.NoAck = false
		_, err := streams(t, nc).UpdateStream(t.Context(), c)
		return err == nil
	})
	last, reading := observe(t, k.Recorder, 1), keep(t, nc, all)
	eventually(t, "the next is stored", func() bool { _, found := find(t, reading.Recorder, last); return found })
	if got := recorded(t, nc); got != asks+1 || k.measured("modulebus_decisions_lost_total") != 0 {
		t.Errorf("%d of %d are stored, and %v are lost", got, asks+1, k.measured("modulebus_decisions_lost_total"))
	}
}

// silentStream is the stream of records, but says nothing when it takes any.
func silentStream() jetstream.StreamConfig {
	at := subjects.For("example.com")
	return jetstream.StreamConfig{
		Name: at.DecisionStream(), Subjects: []string{at.Decision("*", "*")}, Discard: jetstream.DiscardOld, MaxAge: all.Keep, MaxBytes: all.MaxBytes,
		NoAck: true,
	}
}
