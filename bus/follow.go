package bus

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// refresh is how often the roster is asked for, in case news of it was lost.
const refresh = 5 * time.Second

// follower keeps a client's roster what busd says it is.
type follower struct {
	nc     *nats.Conn
	client *Client
	sub    *nats.Subscription
	cancel context.CancelFunc
	done   chan struct{}
}

// follow subscribes to news first and asks then, so that none is missed in between.
func follow(nc *nats.Conn, c *Client) (*follower, error) {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{nc: nc, client: c, cancel: cancel, done: make(chan struct{})}
	var err error
	if f.sub, err = nc.Subscribe(c.server.RosterChanged(), f.take); err != nil {
		cancel()
		return nil, fmt.Errorf("bus: cannot follow the roster: %w", err)
	}
	if err := f.first(ctx); err != nil {
		cancel()
		_ = f.sub.Unsubscribe()
		return nil, err
	}
	go f.run(ctx)
	return f, nil
}

func (f *follower) first(ctx context.Context) error {
	if f.client.opts.RosterTimeout < 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.client.opts.RosterTimeout)
	defer cancel()
	const pause = 50 * time.Millisecond
	for {
		err := f.get(ctx)
		if err == nil && f.client.roster.Load().revision > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("bus: no roster of %s: is busd running, on the same NATS? (%w)", f.client.name, err)
		case <-time.After(pause):
		}
	}
}

func (f *follower) run(ctx context.Context) {
	defer close(f.done)
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = f.get(ctx) // The roster there is stays good.
		}
	}
}

// get asks for a roster later than the one there is; the reply is empty when there is none.
func (f *follower) get(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refresh)
	defer cancel()
	have := strconv.FormatUint(f.client.roster.Load().revision, 10)
	m, err := f.nc.RequestWithContext(ctx, f.client.server.Roster(), []byte(have))
	if err != nil {
		return err
	}
	f.take(m)
	return nil
}

func (f *follower) take(m *nats.Msg) {
	source := &rosterv1.Roster{}
	if err := proto.Unmarshal(m.Data, source); err != nil {
		f.client.log.Error().Err(err).Msg("ignored a roster that cannot be read")
		return
	}
	f.client.setRoster(source)
}

func (f *follower) close() {
	f.cancel()
	_ = f.sub.Unsubscribe() // It fails only when the connection is closed.
	<-f.done
}
