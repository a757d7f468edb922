package news

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	// window bounds the news of one module that is taken out and not handled. Beyond: later news waits in the stream. So a
	// module that refuses the news of one room for days stalls the news of other rooms only beyond that.
	window = 8192

	// prefetch bounds the messages from JetStream that are not looked at yet. Beyond: they wait there.
	prefetch = 128

	// mostHeld bounds the bytes of news of one module in memory. Beyond: a piece stays in the stream until it is
	// delivered.
	mostHeld = 16 << 20

	// abreast bounds how many pieces a module is told at once. Beyond: they wait.
	abreast = 64

	// absence is how long a busd that delivers a module's news may be silent before another takes its place.
	absence = 10 * time.Second

	// ackWait is how long JetStream waits before it sends unacknowledged news again. That costs little: known news is not
	// delivered twice.
	ackWait = 5 * time.Minute

	// ackTime is how long JetStream may take to accept an acknowledgement, and ackAgain is the pause before it is
	// repeated.
	ackTime  = 5 * time.Second
	ackAgain = 500 * time.Millisecond

	// drainTime is how long deliveries under way may take when a busd stops. Beyond: the next busd delivers the news
	// again.
	drainTime = 5 * time.Second
)

// consumer is the name of the one consumer of a stream. The busd that makes it delivers the news; the consumer ends
// with that busd.
const consumer = "busd"

// teller delivers one module's news while no other busd does.
type teller struct {
	service *Service
	name    string
	module  atomic.Pointer[config.Module] // its present entry in the list
	roster  atomic.Pointer[rosterv1.Module]
	changed chan struct{} // tells that the roster has changed; has a place
	log     zerolog.Logger
	blames  zerolog.Logger // of failures, a few times a second at most
	cancel  context.CancelFunc
	owned   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	backlog Backlog
	said    string
}

func (t *teller) stop() { t.cancel(); t.owned.Wait() }

// follow keeps the module's part of the roster up to date.
func (t *teller) follow(ctx context.Context, roster Roster) {
	for revision := uint64(0); ; {
		r, err := roster(ctx, revision)
		if err != nil {
			return // ctx has ended, or the client of busd has.
		}
		revision = r.GetRevision()
		for _, m := range rosterwire.Modules(r) {
			if m.GetName() == t.name {
				t.roster.Store(m)
			}
		}
		select {
		case t.changed <- struct{}{}:
		default:
		}
	}
}

// run delivers the module's news whenever no other busd does, until ctx ends.
func (t *teller) run(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for ctx.Err() == nil {
		t.say(t.lead(ctx))
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// say logs what keeps the module's news from being delivered, once.
func (t *teller) say(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != t.said {
		t.log.Warn().Err(err).Msg("the module's news is kept, and not told for the moment")
	}
	t.said = text
}

// lead delivers the module's news for as long as this busd may. It returns nil when another busd does.
func (t *teller) lead(ctx context.Context) error {
	stream, err := t.service.open(ctx, t.name)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	t.measure(ctx, stream)
	if t.service.Alone {
		_ = stream.DeleteConsumer(ctx, consumer) // Left by an earlier run of this busd that was killed, if there is one.
	}
	return t.take(ctx, stream)
}

// take makes the consumer, and delivers what comes out of it. If another busd has made it, that one delivers.
func (t *teller) take(ctx context.Context, stream jetstream.Stream) error {
	c, err := stream.CreateConsumer(ctx, t.service.consumer())
	switch {
	case err == nil && c.CachedInfo().Delivered.Consumer > 0: // A term that ended while NATS was away has left it, and took news out.
		t.leave(stream)
	case err == nil:
		defer t.leave(stream)
		err = t.serve(ctx, stream, c)
	case errors.Is(err, jetstream.ErrConsumerExists):
		err = nil
	}
	return ignoreEnd(ctx, err)
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil // It was told to end.
}

// leave lets another busd take over at once, unless one has already.
func (t *teller) leave(stream jetstream.Stream) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := stream.Consumer(ctx, consumer)
	if err == nil && c.CachedInfo().Config.Description == t.service.name {
		_ = stream.DeleteConsumer(ctx, consumer) // If this fails, it ends by itself.
	}
}

// told is the result of delivering one piece of news.
type told struct {
	item    *item
	failure *wire.Failure
}

// term is the time in which one busd delivers a module's news.
type term struct {
	*teller
	stream  jetstream.Stream
	queue   *queue
	born    string // when the stream was made; part of the names of news
	last    uint64 // sequence of the consumer
	highest uint64 // the highest sequence in the stream that was taken out
	results chan told
	telling sync.WaitGroup
	ctx     context.Context //nolint:containedctx // of deliveries
}

// serve takes news out of the stream and delivers it, until ctx ends or something may have been missed: then all
// unhandled news is taken out again, to keep its order.
func (t *teller) serve(ctx context.Context, stream jetstream.Stream, c jetstream.Consumer) error {
	telling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	x := &term{
		teller: t, stream: stream, queue: newQueue(),
		born: strconv.FormatInt(stream.CachedInfo().Created.UnixMilli(), 36), results: make(chan told, abreast), ctx: telling,
	}
	arrivals, err := take(ctx, c)
	if err != nil {
		return err
	}
	defer arrivals.stop()
	away := t.service.Conn.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED)
	defer t.service.Conn.RemoveStatusListener(away)
	err = x.run(ctx, stream, arrivals, away)
	x.drain(cancel)
	return err
}

func (x *term) run(ctx context.Context, stream jetstream.Stream, in *arrivals, away <-chan nats.Status) error {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for before := time.Now(); ; {
		now := time.Now()
		if now.Sub(before) > absence/2 {
			return errors.New("busd stood still for a while, and another may tell the news by now")
		}
		before = now
		x.tellAll(now)
		if next := x.queue.next(); next.After(time.Now()) {
			timer.Reset(time.Until(next))
		}
		select {
		case m := <-in.messages:
			if err := x.arrive(m); err != nil {
				return err
			}
		case r := <-x.results:
			x.settle(r, time.Now())
		case <-x.changed:
			x.queue.wake()
		case <-ticker.C:
			x.measure(ctx, stream)
		case <-timer.C:
		case err := <-in.failed:
			return err
		case <-away:
			return errors.New("NATS is away")
		case <-ctx.Done():
			return nil
		}
	}
}

// drain waits for deliveries under way.
func (x *term) drain(cancel context.CancelFunc) {
	timer := time.AfterFunc(drainTime, cancel)
	defer timer.Stop()
	go func() { x.telling.Wait(); close(x.results) }()
	for r := range x.results {
		x.settle(r, time.Now())
	}
}

// arrive puts news into the queue. News that was taken out before is only acknowledged again.
func (x *term) arrive(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	if meta.Sequence.Consumer != x.last+1 {
		return errors.New("news was lost between JetStream and busd: it is taken out again")
	}
	x.last = meta.Sequence.Consumer
	if meta.Sequence.Stream <= x.highest {
		return x.again(m, meta.Sequence.Stream)
	}
	x.highest = meta.Sequence.Stream
	n := x.itemOf(m, meta)
	if x.queue.held+len(n.data) > mostHeld {
		n.data, n.left = nil, true
	}
	x.queue.add(n)
	return nil
}

// again handles news that JetStream sends a second time: it is still in the queue, or its acknowledgement was lost.
func (x *term) again(m jetstream.Msg, seq uint64) error {
	if n := x.queue.find(seq); n != nil {
		n.ack = m.Reply()
		return nil
	}
	return m.Ack()
}

// tellAll begins to deliver as much as may be delivered now.
func (x *term) tellAll(now time.Time) {
	for x.queue.out < abreast {
		n := x.queue.take(now)
		if n == nil {
			return
		}
		if x.tooOld(n, now) {
			x.giveUp(n)
			continue
		}
		ack := n.ack // It may be sent again meanwhile, with another subject.
		x.telling.Go(func() { x.results <- told{n, x.handle(n, ack)} })
	}
}

// handle delivers a piece of news, and removes it when the module has handled it. The next one of its key is delivered
// only then: after a crash, a piece that was not removed is delivered again, and must not come after a newer one.
func (x *term) handle(n *item, ack string) *wire.Failure {
	data, err := x.content(x.ctx, n)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // It was removed from the stream.
	}
	if err != nil {
		return &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: "JetStream does not give the news: " + wire.OneLine(err.Error())}
	}
	f := x.tell(x.ctx, n, data)
	if f == nil {
		x.acknowledge(ack)
	}
	return f
}

// settle handles the result of a delivery.
func (x *term) settle(r told, now time.Time) {
	switch f := r.failure; {
	case f == nil:
		x.queue.heard(now)
		x.queue.done(r.item)
		x.note(func(b *Backlog) { b.Handled++; b.Failure = "" })
	case f.Kind == rosterv1.FailureKind_ABSENT && deaf(x.roster.Load(), r.item.callback):
		x.queue.failed(r.item, now)
		x.blame(r.item, f)
	case f.Kind == rosterv1.FailureKind_ABSENT:
		x.queue.silent(r.item.asked, now)
		x.queue.unheard(r.item)
		x.blame(r.item, f)
	case f.Kind == rosterv1.FailureKind_TIMEOUT:
		x.queue.silent(r.item.asked, now)
		x.queue.failed(r.item, now)
		x.blame(r.item, f)
	default:
		x.queue.heard(now)
		x.queue.failed(r.item, now)
		x.blame(r.item, f)
	}
}

// deaf reports whether the module is there but does not listen for a callback. It may still handle other news.
func deaf(m *rosterv1.Module, callback string) bool {
	return len(m.GetWorkers()) > 0 && !slices.ContainsFunc(m.GetCallbacks(), func(i *rosterv1.Interest) bool {
		return i.GetCallback() == callback && !i.GetNamed() && i.GetUnserved() == ""
	})
}

// acknowledge removes news from the stream. A node of NATS that is lost may lose an acknowledgement, so it is repeated
// until JetStream has accepted it, or the term ends; then the next busd delivers the news again.
func (x *term) acknowledge(ack string) {
	for x.acknowledged(ack) != nil && x.ctx.Err() == nil {
		pause(x.ctx, ackAgain)
	}
}

func (x *term) acknowledged(ack string) error {
	ctx, cancel := context.WithTimeout(x.ctx, ackTime)
	defer cancel()
	_, err := x.service.Conn.RequestWithContext(ctx, ack, []byte("+ACK")) // As jetstream.Msg.DoubleAck, without the message.
	if err != nil {
		x.log.Debug().Err(err).Msg("cannot remove news that was handled: the module may be told it again")
	}
	return err
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (x *term) tooOld(n *item, now time.Time) bool {
	most := x.module.Load().DeliverFor
	if d := n.declaration(); d != nil {
		most = x.module.Load().TermsOf(d).DeliverFor
	}
	return now.Sub(n.stored) > most
}

func (x *term) giveUp(n *item) {
	x.queue.done(n)
	x.note(func(b *Backlog) { b.GivenUp++ })
	x.log.Error().Str("callback", n.callback).Time("stored", n.stored).Str("news", x.nameOf(n)).
		Msg("gave up news that the module has not handled: it is older than deliver_for")
	x.telling.Go(func() { x.acknowledge(n.ack) }) // It is no longer in the queue.
}

// nameOf names a piece of news: always the same for one piece, and different for each.
func (x *term) nameOf(n *item) string { return fmt.Sprintf("%s-%d", x.born, n.seq) }

func (t *teller) note(change func(*Backlog)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.backlog)
}

// blame remembers why the module does not handle its news, and logs the reason if it is a new one.
func (t *teller) blame(n *item, f *wire.Failure) {
	text := n.callback + ": " + f.Error()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.backlog.Failure != text {
		t.blames.Warn().Str("callback", n.callback).Err(f).Msg("the module has not handled its news: it is told again")
	}
	t.backlog.Failure = text
}

// measure looks how much news is in the stream.
func (t *teller) measure(ctx context.Context, stream jetstream.Stream) {
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	info, err := stream.Info(ctx)
	if err != nil {
		return // The old figures stay.
	}
	t.note(func(b *Backlog) {
		b.News, b.Oldest = info.State.Msgs, time.Time{}
		if b.News > 0 {
			b.Oldest = info.State.FirstTime
		}
	})
}

func (t *teller) known() Backlog {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.backlog
}
