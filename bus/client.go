package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Options tune a client. Only ServerName is required.
type Options struct {
	// ServerName is the homeserver's, such as example.com.
	ServerName string

	// RosterTimeout is how long [New] waits for a first roster; negative is not at all: until there is one, asks are
	// answered as if there were no modules. Default: 5 s.
	RosterTimeout time.Duration

	// Web are the limits for requests for modules' web resources; see [Client.Handler].
	Web WebOptions

	// Registerer gets the client's metrics. Default: nobody does.
	Registerer prometheus.Registerer

	// Log is told of modules that fail, a few times a second at most. Default: nothing is logged.
	Log *zerolog.Logger
}

// Client asks modules. Its fields are the categories of callbacks, with a method for each callback.
type Client struct {
	Categories

	server  subjects.Server
	name    string
	opts    Options
	line    wire.Line
	metrics *metrics
	log     zerolog.Logger
	roster  atomic.Pointer[roster]
	nc      *nats.Conn // nil where there is no NATS, like files
	files   *files
	askings sync.Pool // of *asking
	web     web

	mu       sync.Mutex
	changed  chan struct{} // closed when the roster changes
	breakers map[place]*breaker
	hedges   map[place]*hedges
	close    func()
}

// New returns a client that follows the roster which busd keeps for the homeserver. It waits for the first one, for
// RosterTimeout at most, because asking without a roster would be to allow everything. The connection stays the
// caller's; it should be made with nats.ReconnectBufSize(-1), so that asks fail at once while it is down. Close must
// be called.
func New(nc *nats.Conn, o *Options) (*Client, error) {
	c, err := newClient(nil, o)
	if err != nil {
		return nil, err
	}
	mux, err := newMux(nc)
	if err != nil {
		return nil, fmt.Errorf("bus: cannot listen for replies: %w", err)
	}
	c.line, c.nc, c.web.nc = mux, nc, nc
	if c.files, err = newFiles(nc, c.server); err != nil {
		mux.close()
		return nil, fmt.Errorf("bus: cannot let modules read files: %w", err)
	}
	w, err := follow(nc, c)
	if err != nil {
		c.files.close()
		mux.close()
		return nil, err
	}
	c.close = func() { c.web.close(); w.close(); c.files.close(); mux.close() }
	return c, nil
}

// Over returns a client that asks over a line, with a roster that never changes. It is how package bustest makes one.
func Over(line wire.Line, r *rosterv1.Roster, o *Options) (*Client, error) {
	c, err := newClient(line, o)
	if err != nil {
		return nil, err
	}
	c.setRoster(r)
	return c, nil
}

func newClient(line wire.Line, o *Options) (*Client, error) {
	if o == nil || o.ServerName == "" {
		return nil, errors.New("bus: Options.ServerName is empty: set it to the homeserver's server name")
	}
	c := &Client{
		server: subjects.Of(o.ServerName), name: o.ServerName, opts: *o, line: line,
		log: zerolog.Nop(), changed: make(chan struct{}), close: func() {},
		breakers: map[place]*breaker{}, hedges: map[place]*hedges{}, askings: sync.Pool{New: newAsking},
	}
	c.opts.RosterTimeout = cmp.Or(o.RosterTimeout, 5*time.Second)
	if o.Log != nil {
		c.log = o.Log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second})
	}
	var err error
	if c.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("bus: cannot register metrics: %w", err)
	}
	c.Categories = categoriesOf(c)
	c.roster.Store(compile(c, &rosterv1.Roster{}))
	return c, nil
}

// Close stops following the roster and listening for replies. Asks and web requests under way fail. It does not block on
// modules.
func (c *Client) Close() { c.close() }

// Ask is the way to ask a callback that is known only at run time: the request must be one of the callback's, and the
// answer is. See package bus for what it promises.
func (c *Client) Ask(ctx context.Context, d *subjects.Declaration, req proto.Message) (Decision[proto.Message], error) {
	r := c.roster.Load()
	plan := &r.plans[d.Index]
	if len(plan.steps) == 0 {
		return Decision[proto.Message]{RosterRevision: r.revision}, nil
	}
	return c.run(ctx, r, plan, req)
}

// Wants reports whether any module registered the callback. When none did, asking is free, and so is preparing nothing
// for it.
func (c *Client) Wants(d *subjects.Declaration) bool {
	return len(c.roster.Load().plans[d.Index].steps) > 0
}

// StateFilter returns which state events of a room any module needs in requests of the callback; nil when none does.
func (c *Client) StateFilter(d *subjects.Declaration) *rosterv1.StateFilter {
	return c.roster.Load().plans[d.Index].state
}

// Roster returns the roster that asks now go by. It must not be changed.
func (c *Client) Roster() *rosterv1.Roster { return c.roster.Load().source }

// AwaitRoster returns a roster with a revision larger than after, and waits for one until ctx ends; then it returns the
// one there is, and the context's error.
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
		case <-ctx.Done():
			return c.Roster(), ctx.Err()
		}
	}
}

// setRoster takes a roster over, unless a later one is already there.
func (c *Client) setRoster(source *rosterv1.Roster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if source.GetRevision() <= c.roster.Load().revision {
		return
	}
	c.roster.Store(compile(c, source))
	close(c.changed)
	c.changed = make(chan struct{})
}
