package news

import (
	"context"
	"errors"
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

// held is a message of which JetStream takes the acknowledgement late.
type held struct {
	jetstream.Msg

	begun, taken chan struct{}
}

// DoubleAck implements [jetstream.Msg].
func (m held) DoubleAck(context.Context) error {
	close(m.begun)
	<-m.taken
	return nil
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
	first := held{begun: make(chan struct{}), taken: make(chan struct{})}
	second := held{begun: make(chan struct{}), taken: make(chan struct{})}
	close(second.taken)
	for i, m := range []jetstream.Msg{first, second} {
		x.queue.add(&item{seq: uint64(i + 1), callback: subjects.OnProfileUpdate.FullName(), key: "a", stored: time.Now(), msg: m})
	}
	x.tellAll(time.Now())
	_ = (<-asked).Respond(nil)
	select {
	case <-first.begun:
	case <-x.results:
		t.Fatal("the first counts as handled, and is not removed")
	}
	x.tellAll(time.Now())
	if len(asked)+len(x.results) > 0 {
		t.Error("the second is told before the first is removed")
	}
	close(first.taken)
	x.settle(<-x.results, time.Now())
	x.tellAll(time.Now())
	_ = (<-asked).Respond(nil)
	x.settle(<-x.results, time.Now())
	if x.queue.out != 0 || len(x.queue.rows) != 0 {
		t.Errorf("%d pieces are being told, %d keys are left", x.queue.out, len(x.queue.rows))
	}
}
