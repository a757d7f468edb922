package news

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// frozen is a stream at which everything stands still, as in a process that is stopped.
type frozen struct{ jetstream.Stream }

// Info implements [jetstream.Stream].
func (frozen) Info(context.Context, ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	<-time.After(absence)
	return nil, errors.New("too late")
}

func TestTermEndsWhenBusdStoodStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		x := &term{teller: &teller{changed: make(chan struct{}, 1)}, queue: newQueue(), results: make(chan told)}
		in := &arrivals{messages: make(chan jetstream.Msg), failed: make(chan error, 1)}
		if err := x.run(ctx, frozen{}, in, nil); err == nil {
			t.Error("it goes on telling what another may have told")
		}
	})
}

// termOn is one in which a module is told on a connection.
func termOn(t *testing.T, nc *nats.Conn, server subjects.Server) *term {
	t.Helper()
	x := &term{
		teller: &teller{service: &Service{Options: Options{Conn: nc}, server: server}, name: "archive"},
		queue:  newQueue(), results: make(chan told, abreast), ctx: t.Context(),
	}
	x.module.Store(&config.Module{Name: "archive", Timeout: time.Minute, DeliverFor: time.Hour})
	x.roster.Store(&rosterv1.Module{})
	return x
}

func TestNewsIsToldWhenTheOneBeforeItIsRemoved(t *testing.T) {
	t.Parallel()
	nc, server := natstest.Connect(t, natstest.InProcess(t)), subjects.For("example.com")
	asked := make(chan *nats.Msg, 2)
	if _, err := nc.ChanSubscribe(server.Callback(subjects.OnProfileUpdate, "archive"), asked); err != nil {
		t.Fatal(err)
	}
	x := termOn(t, nc, server)
	removed := make(chan *nats.Msg, 2)
	if _, err := nc.ChanSubscribe("remove.*", removed); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		x.queue.add(&item{
			seq: uint64(i + 1), callback: subjects.OnProfileUpdate.FullName(), key: "a", stored: time.Now(), ack: fmt.Sprint("remove.", i),
		})
	}
	x.tellAll(time.Now())
	_ = (<-asked).Respond(nil)
	var first *nats.Msg
	select {
	case first = <-removed:
	case <-x.results:
		t.Fatal("the first counts as handled, and is not removed")
	}
	x.tellAll(time.Now())
	if len(asked)+len(x.results) > 0 {
		t.Error("the second is told before the first is removed")
	}
	_ = first.Respond(nil)
	x.settle(<-x.results, time.Now())
	x.tellAll(time.Now())
	_ = (<-asked).Respond(nil)
	_ = (<-removed).Respond(nil)
	x.settle(<-x.results, time.Now())
	if x.queue.out != 0 || len(x.queue.rows) != 0 {
		t.Errorf("%d pieces are being told, %d keys are left", x.queue.out, len(x.queue.rows))
	}
}

// large is a message with so many bytes that JetStream has given a sequence.
type large struct {
	jetstream.Msg

	seq   uint64
	bytes int
}

// Metadata implements [jetstream.Msg].
func (m large) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Consumer: m.seq, Stream: m.seq}, Timestamp: time.Now()}, nil
}

// Data implements [jetstream.Msg].
func (m large) Data() []byte { return make([]byte, m.bytes) }

// Subject implements [jetstream.Msg].
func (m large) Subject() string { return "news" }

// Headers implements [jetstream.Msg].
func (m large) Headers() nats.Header { return nil }

// Reply implements [jetstream.Msg].
func (m large) Reply() string { return "remove" }

func TestLargeNewsThatIsNotHandledStaysInTheStream(t *testing.T) {
	t.Parallel()
	const pieces, size = 2 * mostHeld >> 20, 1 << 20
	x := &term{teller: &teller{}, queue: newQueue()}
	for seq := range uint64(pieces) {
		if err := x.arrive(large{seq: seq + 1, bytes: size}); err != nil {
			t.Fatal(err)
		}
	}
	if len(x.queue.items) != pieces || x.queue.held != mostHeld {
		t.Errorf("%d of %d pieces hold %d bytes, want %d", len(x.queue.items), pieces, x.queue.held, mostHeld)
	}
	if last := x.queue.find(pieces); !last.left || last.data != nil {
		t.Error("the last piece is in memory")
	}
}
