package news

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// arrivals are the messages that come out of a stream.
type arrivals struct {
	messages chan jetstream.Msg
	failed   chan error // gets the reason when no more messages come; has a place for it
	stop     func()
}

// take begins to take news out of the stream, as much as the window allows.
func take(ctx context.Context, c jetstream.Consumer) (*arrivals, error) {
	iterator, err := c.Messages(jetstream.PullMaxMessages(prefetch), jetstream.PullExpiry(absence/2))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &arrivals{messages: make(chan jetstream.Msg), failed: make(chan error, 1)}
	var taking sync.WaitGroup
	taking.Go(func() { a.failed <- a.run(ctx, iterator) })
	a.stop = func() { cancel(); iterator.Stop(); taking.Wait() }
	return a, nil
}

func (a *arrivals) run(ctx context.Context, iterator jetstream.MessagesContext) error {
	for {
		m, err := iterator.Next()
		if err != nil {
			return err
		}
		select {
		case a.messages <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
