package news

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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
