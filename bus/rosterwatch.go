package bus

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// refresh is how often the roster is asked for, in case news of it was lost.
const refresh = 5 * time.Second

// rosterWatch keeps a client's roster the same as busd's.
type rosterWatch struct {
	nc     *nats.Conn
	client *Client
	sub    *nats.Subscription
	parts  rosterwire.Assembler            // of published rosters; each request for a roster has its own
	told   atomic.Pointer[rosterv1.Roster] // the last that was published and is not in use yet
	news   chan struct{}                   // tells that there is one
	doubt  chan struct{}                   // tells that the roster should be asked for soon
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// watchRoster subscribes to news before it asks for the roster, so that no change is missed in between.
func watchRoster(nc *nats.Conn, c *Client) (*rosterWatch, error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &rosterWatch{nc: nc, client: c, news: make(chan struct{}, 1), doubt: make(chan struct{}, 1), cancel: cancel}
	var err error
	if w.sub, err = nc.Subscribe(c.server.RosterChanged(), w.receive); err != nil {
		cancel()
		return nil, fmt.Errorf("cannot follow the roster: %w", err)
	}
	w.done.Go(func() { w.follow(ctx) })
	w.done.Go(func() { w.use(ctx) })
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

// follow asks for the roster now and then.
func (w *rosterWatch) follow(ctx context.Context) {
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-w.doubt:
		}
		_ = w.get(ctx) // The present roster stays good.
	}
}

// get asks for a roster later than the present one; for any roster, if the present one has a revision from the future.
func (w *rosterWatch) get(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refresh)
	defer cancel()
	have := w.client.roster.Load().revision
	if !rosterwire.Plausible(have, time.Now()) {
		have = 0
	}
	source, err := rosterwire.Fetch(ctx, w.nc, w.client.server.Roster(), have)
	if source != nil {
		w.client.setRoster(source)
	}
	return err
}

// receive handles a published roster, or a part of one. Any client of NATS may have published it, so a roster with a
// revision from the future, or one that asks modules less than the present one does, is not used: busd is asked for its
// roster instead.
func (w *rosterWatch) receive(m *nats.Msg) {
	if responder.FromStream(m) {
		return
	}
	source, err := w.parts.Add(m.Data)
	switch {
	case err != nil:
		w.client.log.Error().Err(err).Msg("ignored a roster that cannot be read")
	case source == nil: // The rest of it is still to come.
	case !rosterwire.Plausible(source.GetRevision(), time.Now()):
		w.client.log.Warn().Uint64("revision", source.GetRevision()).Msg("somebody told a roster from the future: asking busd")
		w.ask()
	default:
		w.keep(source)
	}
}

// keep passes a roster on to use, unless a later one waits already.
func (w *rosterWatch) keep(source *rosterv1.Roster) {
	if told := w.told.Load(); told == nil || told.GetRevision() < source.GetRevision() {
		w.told.Store(source)
		tell(w.news)
	}
}

// use makes the client use the roster that was published last. While it prepares a roster, several others may be published, as when a
// thousand modules join at once: it uses only the last of those.
func (w *rosterWatch) use(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.news:
		}
		switch source := w.told.Swap(nil); {
		case source == nil: // An earlier signal has brought it already.
		case asksAll(source, w.client.Roster()):
			w.client.setRoster(source)
		default:
			w.ask()
		}
	}
}

// asksAll reports whether the next roster asks every module all that the present one asks it.
func asksAll(next, present *rosterv1.Roster) bool {
	asked := map[[2]string]bool{}
	for _, m := range next.GetModules() {
		for _, i := range m.GetCallbacks() {
			asked[[2]string{m.GetName(), i.GetCallback()}] = true
		}
	}
	for _, m := range present.GetModules() {
		for _, i := range m.GetCallbacks() {
			if !asked[[2]string{m.GetName(), i.GetCallback()}] {
				return false
			}
		}
	}
	return true
}

// ask makes the watch ask busd for the roster soon.
func (w *rosterWatch) ask() { tell(w.doubt) }

func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // It has been told already.
	}
}

func (w *rosterWatch) close() {
	w.cancel()
	_ = w.sub.Unsubscribe() // It fails only when the connection is closed.
	w.done.Wait()
}
