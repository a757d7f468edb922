package records_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// hand is a recorder whose records are handed to the module gate, and where those come.
func hand(t *testing.T) (*records.Recorder, *records.Readers, chan *nats.Msg) {
	t.Helper()
	home, r := natstest.InProcess(t), records.New()
	readers := records.NewReaders(r, records.ReadersOptions{Conn: natstest.Connect(t, home), ServerName: "example.com", Log: zerolog.Nop()})
	t.Cleanup(readers.Close)
	readers.Configure([]string{"gate"})
	batches, module := make(chan *nats.Msg), natstest.Connect(t, home)
	at := subjects.For("example.com")
	if _, err := module.QueueSubscribe(at.Decisions("gate"), subjects.Group("gate"), func(m *nats.Msg) { batches <- m }); err != nil {
		t.Fatal(err)
	}
	if _, err := module.Subscribe(at.Decisions("other"), func(m *nats.Msg) { t.Error("another module is handed", string(m.Data)) }); err != nil {
		t.Fatal(err)
	}
	if err := module.Flush(); err != nil {
		t.Fatal(err)
	}
	return r, readers, batches
}

// take takes a batch, and says so.
func take(t *testing.T, batches chan *nats.Msg) decision.Batch {
	t.Helper()
	select {
	case m := <-batches:
		var b decision.Batch
		if err := json.Unmarshal(m.Data, &b); err != nil {
			t.Fatal(err)
		}
		if err := m.Respond(nil); err != nil {
			t.Fatal(err)
		}
		return b
	case <-time.After(patience):
		t.Fatal("no records are handed over")
		return decision.Batch{}
	}
}

func TestModuleThatMayReadIsHandedEachRecordOnce(t *testing.T) {
	t.Parallel()
	r, readers, batches := hand(t)
	var want, got []string
	for range 200 {
		want = append(want, observe(t, r, 1))
	}
	for len(got) < len(want) {
		for _, record := range take(t, batches).Decisions {
			got = append(got, record.ID)
		}
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("record %d is %s, want %s", i, got[i], want[i])
		}
	}
	readers.Configure(nil)
	observe(t, r, 1)
	readers.Close()
	select {
	case m := <-batches:
		t.Errorf("a module that may not read any more is handed %s", m.Data)
	default:
	}
}

func TestRecordsThatTakeSeveralMessagesAreHandedWhole(t *testing.T) {
	t.Parallel()
	r, _, batches := hand(t)
	r.KeepRequests(true)
	const asks = 60
	large := &callbacksv1.UserMayCreateRoomRequest{UserId: "@" + strings.Repeat("x", 60<<10) + ":example.com"}
	for range asks {
		observe(t, r, 1, func(tr *bus.Trace) { tr.Request = large })
	}
	messages := 0
	for read := 0; read < asks; messages++ {
		b := take(t, batches)
		for _, record := range b.Decisions {
			if len(record.Request) < 60<<10 {
				t.Errorf("record %d has %d bytes of its request", read, len(record.Request))
			}
		}
		if read += len(b.Decisions); b.Lost > 0 {
			t.Fatalf("%d are lost", b.Lost)
		}
	}
	if messages < 2 {
		t.Errorf("all came in %d message", messages)
	}
}

func TestModuleThatIsTooSlowIsToldHowManyRecordsItLost(t *testing.T) {
	t.Parallel()
	r, _, batches := hand(t)
	const asks = 5000
	observe(t, r, 1)
	first := <-batches // It is taken when all others have been made.
	for range asks {
		observe(t, r, 1)
	}
	if err := first.Respond(nil); err != nil {
		t.Fatal(err)
	}
	var read, lost uint64
	for read+lost < asks {
		b := take(t, batches)
		read, lost = read+uint64(len(b.Decisions)), lost+b.Lost
	}
	if read != 4096 || read+lost != asks {
		t.Errorf("read %d and lost %d of %d", read, lost, asks)
	}
}

// TestModuleThatAcceptsNoRecordsHoldsNobodyUp has a module that takes records and says nothing: another one is handed all, at once.
func TestModuleThatAcceptsNoRecordsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	r, readers, batches := hand(t)
	deaf, at := make(chan *nats.Msg, 1), subjects.For("example.com")
	if _, err := readers.Conn.ChanQueueSubscribe(at.Decisions("silent"), subjects.Group("silent"), deaf); err != nil {
		t.Fatal(err)
	}
	readers.Configure([]string{"gate", "silent"})
	observe(t, r, 1)
	take(t, batches)
	<-deaf
	const many = 2000
	for range many {
		observe(t, r, 1)
	}
	for read := 0; read < many; {
		b := take(t, batches)
		read += len(b.Decisions) + int(b.Lost)
	}
	if len(deaf) > 0 {
		t.Error("a module that has not accepted a batch is handed another")
	}
}
