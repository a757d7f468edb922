package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

var (
	// ErrClosed is the error of asks that are under way at [Client.Close], and of those after it.
	ErrClosed = errors.New("bus: the client is closed")

	// ErrNoRoster is the error of asks before the first roster. [New] waits for that, so callers of New never see it.
	ErrNoRoster = errors.New("bus: there is no roster yet: is busd running, on the same NATS?")
)

// rosterWait is how long New waits for a roster where its context has no deadline.
const rosterWait = 5 * time.Second

// Client asks modules. Its fields are the categories of callbacks, with a method for each callback. All methods may be called
// concurrently.
type Client struct {
	Categories

	server    subjects.Server
	name      string
	opts      Options
	requester natsrequest.Requester
	token     string // part of the subject on which workers answer this client's batches; a secret of the two
	metrics   *metrics
	spans     *spans.Maker
	log       zerolog.Logger
	roster    atomic.Pointer[roster]
	nc        *nats.Conn // nil without NATS, and files then too
	files     *files
	askings   sync.Pool      // of *asking
	epoch     time.Time      // of stamps
	shadowed  chan struct{}  // has a place for each ask that is repeated for modules in shadow
	beside    sync.WaitGroup // goroutines that aside began
	web       web

	mu       sync.Mutex
	gathered []*shadowing  // asks that are soon repeated for modules in shadow
	changed  chan struct{} // closed when the roster changes
	memory   memory
	ended    error // why no more can be asked
	done     chan struct{}
	closed   bool
	closers  []*closer // the first opened first
}

// closer ends something that the client began.
type closer struct{ end func() }

// stamp is a time, in nanoseconds since the client began, never 0.
type stamp = int64

func (c *Client) stamp(now time.Time) stamp { return int64(now.Sub(c.epoch)) + 1 }

// New returns a client that follows busd's roster of the homeserver's modules. Without a roster the client does not
// know which modules to ask, so New waits for the first one: until ctx ends, or 5 s if ctx has no deadline. It uses ctx
// for nothing else.
//
// The connection stays the caller's, and must be open for as long as the client is. Make it with
// nats.ReconnectBufSize(-1), so that asks fail at once while it is down, with nats.MaxReconnects(-1) and
// nats.IgnoreAuthErrorAbort, so that it outlives every outage of NATS. [Client.Done] tells when the connection is
// closed nevertheless. Close must be called.
func New(ctx context.Context, nc *nats.Conn, o Options) (*Client, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	if internal := busopts.From(ctx); internal.Requester != nil {
		c.requester = internal.Requester
		c.setRoster(internal.Roster)
		return c, nil
	}
	if err := c.open(ctx, nc); err != nil {
		c.Close()
		return nil, fmt.Errorf("bus: %w", err)
	}
	return c, nil
}

func newClient(o Options) (*Client, error) {
	if o.ServerName == "" {
		return nil, errors.New("bus: Options.ServerName is empty: set it to the homeserver's server name")
	}
	c := &Client{
		server: subjects.For(o.ServerName), name: o.ServerName, opts: o,
		log: zerolog.Nop(), changed: make(chan struct{}), done: make(chan struct{}),
		memory: newMemory(), epoch: time.Now(), token: rand.Text(), shadowed: make(chan struct{}, maxShadowed),
		spans: spans.New(o.TracerProvider, "bus"),
	}
	if o.Log != nil {
		c.log = o.Log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second})
	}
	var err error
	if c.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("bus: cannot register metrics: %w", err)
	}
	c.Categories, c.web.client = categoriesOf(c), c
	c.roster.Store(unasked(&rosterv1.Roster{}, ErrNoRoster))
	return c, nil
}

// open begins what a client does on NATS. If it fails, Close ends what it has begun.
func (c *Client) open(ctx context.Context, nc *nats.Conn) error {
	mux, err := natsrequest.New(nc, c.server.AnswersAny(c.token))
	if err != nil {
		return err
	}
	c.requester, c.nc = mux, nc
	c.onClose(mux.Close)
	if c.files, err = newFiles(nc, c.server, &c.log); err != nil {
		return fmt.Errorf("cannot let modules read files: %w", err)
	}
	c.onClose(c.files.close)
	watch, err := watchRoster(nc, c)
	if err != nil {
		return err
	}
	c.onClose(watch.close)
	c.onClose(c.watchConnection(mux))
	c.onClose(c.web.close)
	if busopts.From(ctx).NoWait {
		return nil
	}
	return watch.first(ctx)
}

// watchConnection ends the client when its connection is closed for good. Requests under way have failed then.
func (c *Client) watchConnection(mux *natsrequest.Mux) (stop func()) {
	closed := c.nc.StatusChanged(nats.CLOSED)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-closed:
		case <-c.done:
			return
		}
		err := fmt.Errorf("bus: the connection to NATS is closed for good: %w", errors.Join(nats.ErrConnectionClosed, c.nc.LastError()))
		if c.end(err) {
			c.log.Error().Err(err).Msg("modules can be asked no more: make a new connection and a new client")
		}
		mux.FailAll(err)
	})
	return func() { watching.Wait(); c.nc.RemoveStatusListener(closed) }
}

// Done returns a channel that is closed when the client can ask no more: after [Client.Close], or when its connection
// has closed for good, which is also logged. From then on every module is absent. [Client.Err] says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is nil until Done is closed, and then says why: [ErrClosed], or an error that wraps [nats.ErrConnectionClosed].
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// end ends the client with an error. It reports false if the client had ended already.
func (c *Client) end(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return false
	}
	c.ended = err
	close(c.done)
	return true
}

// Close ends all that the client began, before it returns: asks under way fail with [ErrClosed], as do later ones; the
// contexts of Module API calls under way end, and no more are served; files cannot be read any more; web requests under way
// break off, and later ones are answered 503. It does not wait for modules, and at most a second for implementations of the
// Module API, and two for readers of files. The connection stays open. Calling it again does nothing.
func (c *Client) Close() {
	c.end(ErrClosed)
	for _, x := range slices.Backward(c.shut()) {
		x.end()
	}
	c.repeatGathered()
	c.beside.Wait()
}

// shut refuses new asks and anything else new, and returns what must be ended.
func (c *Client) shut() []*closer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.roster.Store(unasked(c.roster.Load().source, ErrClosed))
	return c.closers
}

// onClose makes Close call a function. It reports false if Close was called before: then the function is not called.
// Call forget when what the function ends has ended earlier.
func (c *Client) onClose(end func()) (forget func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := &closer{end}
	c.closers = append(c.closers, x)
	return func() { c.forget(x) }, !c.closed
}

func (c *Client) forget(x *closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closers = slices.DeleteFunc(slices.Clone(c.closers), func(o *closer) bool { return o == x })
}

// aside runs a function on a goroutine that Close waits for. It does not, and reports false, if the client is
// closed.
func (c *Client) aside(f func()) (begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.beside.Go(f)
	}
	return !c.closed
}

// Ask asks a callback that is known only at run time. The request must have the callback's type, and so has the answer.
// Otherwise it behaves as the methods of [Categories] do.
func (c *Client) Ask(ctx context.Context, cb subjects.AnyCallback, req proto.Message) (Decision[proto.Message], error) {
	r := c.roster.Load()
	plan := r.plans[subjects.DeclarationOf(cb).Index()]
	if plan == nil {
		return Decision[proto.Message]{RosterRevision: r.revision}, nil
	}
	return c.run(ctx, r, plan, req)
}

// Wants reports whether the callback must be asked: whether a module registered it, or whether it is not known yet
// what a module registered. If it is false, the request need not be prepared, and asking costs nothing.
func (c *Client) Wants(cb subjects.AnyCallback) bool {
	plan := c.roster.Load().plans[subjects.DeclarationOf(cb).Index()]
	return plan != nil && (plan.wanted || plan.err != nil)
}

// StateFilter returns the state events of a room that modules need in requests of the callback; nil if none does.
func (c *Client) StateFilter(cb subjects.AnyCallback) *rosterv1.StateFilter {
	if plan := c.roster.Load().plans[subjects.DeclarationOf(cb).Index()]; plan != nil {
		return plan.state
	}
	return nil
}

// Handler returns a handler that serves the web resources of all modules, under the paths they registered; any other path
// is a 404 with M_UNRECOGNIZED. If several paths match, the longest counts. The handler follows the roster at once, and may
// be called concurrently.
//
// Bodies are streamed in both directions, as fast as they are read. Upgrades (WebSocket), trailers and informational
// responses are passed on, and a client that leaves ends the context of the module's handler. When a response breaks off,
// so does the connection to the client: the handler panics with [http.ErrAbortHandler], and a handler around it must let
// that panic pass. Error responses that are not the module's have the header field Modulebus-Error.
//
// The first call makes a second connection to NATS, with the options of the first but none of its callbacks, so that
// bodies do not delay asks; if that fails, bodies go over the first. [Client.Close] ends requests under way; after it,
// requests are answered 503.
func (c *Client) Handler() http.Handler { return c.spanned(c.web.handler()) }

// Roster returns the roster that asks use now. It is shared and must not be changed. It never returns nil.
func (c *Client) Roster() *rosterv1.Roster { return c.roster.Load().source }

// AwaitRoster waits for a roster with a revision larger than after, and returns it. When ctx or the client ends, it returns
// the present roster, and ctx's error or that of [Client.Err].
func (c *Client) AwaitRoster(ctx context.Context, after uint64) (*rosterv1.Roster, error) {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if r := c.Roster(); r.GetRevision() > after {
			return r, nil
		}
		select {
		case <-changed:
		case <-c.done:
			return c.Roster(), c.Err()
		case <-ctx.Done():
			return c.Roster(), ctx.Err()
		}
	}
}

// setRoster makes asks use a roster, unless they already use a later one whose revision is plausible.
func (c *Client) setRoster(source *rosterv1.Roster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !replaces(source.GetRevision(), c.roster.Load().revision, time.Now()) {
		return
	}
	c.roster.Store(compile(c, source))
	close(c.changed)
	c.changed = make(chan struct{})
}

// replaces compares revisions. One from the future is only ever the answer to a question, and anything plausible
// replaces it: see [rosterwire.Plausible].
func replaces(next, present uint64, now time.Time) bool {
	return next > present || next > 0 && rosterwire.Plausible(next, now) && !rosterwire.Plausible(present, now)
}
