package bus

import (
	"cmp"
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

// rosterWatch keeps a client's roster what busd says it is.
type rosterWatch struct {
	nc     *nats.Conn
	client *Client
	sub    *nats.Subscription
	cancel context.CancelFunc
	done   chan struct{}
}

// watchRoster subscribes to news before it asks for the roster, so that no change is missed in between.
func watchRoster(nc *nats.Conn, c *Client) (*rosterWatch, error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &rosterWatch{nc: nc, client: c, cancel: cancel, done: make(chan struct{})}
	var err error
	if w.sub, err = nc.Subscribe(c.server.RosterChanged(), w.receive); err != nil {
		cancel()
		return nil, fmt.Errorf("cannot follow the roster: %w", err)
	}
	go w.run(ctx)
	return w, nil
}

// first waits for the first roster.
func (w *rosterWatch) first(ctx context.Context) error {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rosterWait)
		defer cancel()
	}
	const pause = 50 * time.Millisecond
	for {
		err := w.get(ctx)
		if w.client.roster.Load().err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no roster of %s: is busd running, on the same NATS? (%w)", w.client.name, cmp.Or(err, ctx.Err()))
		case <-time.After(pause):
		}
	}
}

func (w *rosterWatch) run(ctx context.Context) {
	defer close(w.done)
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = w.get(ctx) // The present roster stays good.
		}
	}
}

// get asks for a roster later than the present one; the reply is empty when there is none.
func (w *rosterWatch) get(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refresh)
	defer cancel()
	have := strconv.FormatUint(w.client.roster.Load().revision, 10)
	m, err := w.nc.RequestWithContext(ctx, w.client.server.Roster(), []byte(have))
	if err != nil {
		return err
	}
	w.receive(m)
	return nil
}

func (w *rosterWatch) receive(m *nats.Msg) {
	source := &rosterv1.Roster{}
	if err := proto.Unmarshal(m.Data, source); err != nil {
		w.client.log.Error().Err(err).Msg("ignored a roster that cannot be read")
		return
	}
	w.client.setRoster(source)
}

func (w *rosterWatch) close() {
	w.cancel()
	_ = w.sub.Unsubscribe() // It fails only when the connection is closed.
	<-w.done
}
