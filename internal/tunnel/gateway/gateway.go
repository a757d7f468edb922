package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/matrix"
)

// ErrAbsent is the error of a request for which there is no worker. Nothing was delivered, so asking again is safe.
var ErrAbsent = errors.New("tunnel: no worker")

// Transport moves frames between a gateway and the workers of modules. Its methods may be called concurrently.
type Transport interface {
	flow.Transport

	// Token returns a name for the stream of a module's answer. It cannot be guessed, and no other module can answer on
	// it.
	Token(to webpath.Resource) string

	// Ask sends a request to any one worker of the module. The answer is for the stream with the token. If Ask fails,
	// nothing was sent.
	Ask(to webpath.Resource, token string, frame []byte) error
}

// Router returns the web resource of a path, or false if there is none. The path is unescaped. It may be called
// concurrently.
type Router func(path string) (webpath.Resource, bool)

// Options tune a gateway. Zero values mean the defaults; a negative time means never.
type Options struct {
	// AcceptTimeout is how long it may take until a worker says that it has a request. Default: 2 s.
	AcceptTimeout time.Duration

	// ResponseTimeout is how long a module may take to begin its response, counted from when the last part of the
	// request was passed on. Past it the client is answered 504. Default: 90 s.
	ResponseTimeout time.Duration

	// IdleTimeout is how long a response may pause once it has begun. It does not suit server-sent events. It is not
	// applied to upgrades. Default: never.
	IdleTimeout time.Duration

	// StallTimeout is how long a client may take none of what it is sent. Default: 60 s.
	StallTimeout time.Duration

	// TotalTimeout is how long a request may take, first to last, but for upgrades. The module is told what is left.
	// Default: never.
	TotalTimeout time.Duration

	// BodyLimit is the largest request body in bytes; larger ones are answered 413. Default: none.
	BodyLimit int64

	// HeaderLimit is the largest request target and header, in bytes, that is passed on; larger ones are answered
	// 431. What does not fit a frame is refused in any case. Default: 64 KiB.
	HeaderLimit int

	// TrustedProxies are the addresses of proxies whose X-Forwarded-For, -Host and -Proto are believed; see resolve.
	// Default: nobody is trusted.
	TrustedProxies []netip.Prefix

	// Silence is how long a worker may send nothing before its streams end. Default: 15 s.
	Silence time.Duration

	// Done is called at the end of each routed request. It may be called concurrently. Default: none.
	Done func(*Report)
}

func (o Options) withDefaults() Options {
	o.AcceptTimeout = cmp.Or(o.AcceptTimeout, 2*time.Second)
	o.ResponseTimeout = cmp.Or(o.ResponseTimeout, 90*time.Second)
	o.StallTimeout = cmp.Or(o.StallTimeout, 60*time.Second)
	o.HeaderLimit = cmp.Or(o.HeaderLimit, 64<<10)
	o.Silence = cmp.Or(o.Silence, 15*time.Second)
	if o.Done == nil {
		o.Done = func(*Report) {}
	}
	return o
}

// Report is the result of one request.
type Report struct {
	Context   context.Context //nolint:containedctx // The request's, for what its handler put there.
	To        webpath.Resource
	Status    int           // of the answer to the client; 0 if there was none
	Outcome   Outcome       // why it ended
	Err       error         // what failed, for the operator; the client was not told
	Retries   int           // how often another worker was asked
	Fast      bool          // it took one frame each way
	Accept    time.Duration // until a worker accepted the request
	FirstByte time.Duration // until the response began; 0 if it did not
}

// Gateway is the [http.Handler] on the internet's side. Its methods may be called concurrently.
type Gateway struct {
	transport Transport
	route     Router
	opts      Options
	streams   *flow.Table[*call]
	workers   *workers
	budget    flow.Budget
	stats     flow.Stats
}

// New returns a gateway. All frames for it must be given to Receive.
//
// It answers each request with the response of the module whose path it is. Bodies are streamed in both directions, as
// fast as their readers take them. When a response breaks off, so does the connection to the client: a truncated
// response is never mistaken for a complete one.
//
// Its own answers are Matrix errors that name the module and carry [ErrorHeader]: 404 for a path without a route, 413
// and 431 for a request over the limits, 502 for a module that failed or answered nonsense, 503 with
// Retry-After for a module that is not running or has too much to do, 504 for one too slow. When the client leaves,
// the module is told, and ServeHTTP panics with [http.ErrAbortHandler], as net/http's server wants it. A handler
// around it must let that panic pass.
func New(t Transport, route Router, opts Options) *Gateway {
	return &Gateway{transport: t, route: route, opts: opts.withDefaults(), streams: flow.NewTable[*call](), workers: newWorkers()}
}

// ServeHTTP implements [http.Handler].
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to, ok := g.route(r.URL.Path)
	if !ok {
		f := &failure{status: http.StatusNotFound, errcode: matrix.Unrecognized}
		f.writeTo(w, "Unrecognized request")
		return
	}
	q := &request{g: g, w: w, r: r, began: time.Now(), report: Report{Context: r.Context(), To: to}}
	defer g.opts.Done(&q.report)
	q.serve()
}

// Stats returns the gateway's counters.
func (g *Gateway) Stats() *flow.Stats { return &g.stats }

// Lent is how many streams there are, and how much may be under way to them, at most, in bytes.
func (g *Gateway) Lent() (streams int, credit int64) { return g.budget.Lent() }

// Receive receives a frame for a stream, or for [flow.ControlToken], and keeps its memory. It does not block.
func (g *Gateway) Receive(by flow.Channel, token string, from flow.Address, raw []byte) {
	g.stats.Received(raw)
	f, err := frame.Decode(raw)
	if p, ok := f.(*frame.Pong); ok && token == flow.ControlToken {
		g.workers.answered(from, p)
		return
	}
	s, ok := g.streams.Find(token)
	switch {
	case ok && err != nil:
		s.lose(badReply(err))
	case ok:
		s.receive(by, from, f, raw)
	default:
		g.disown(from, f)
	}
}

// ReceiveShared receives a [frame.Data] without bytes, and its bytes, which lie in memory that the worker has as well. It
// does not block.
func (g *Gateway) ReceiveShared(token string, head, bytes []byte) {
	g.stats.Received(head)
	g.stats.BytesIn.Add(int64(len(bytes)))
	s, ok := g.streams.Find(token)
	if !ok {
		return
	}
	f, err := frame.Decode(head)
	d, ok := f.(*frame.Data)
	if err != nil || !ok || len(d.Bytes) > 0 {
		s.lose(badReply(fmt.Errorf("%d bytes behind %x", len(bytes), head)))
		return
	}
	d.Bytes = bytes
	s.receive(flow.Bulk, flow.Address{}, d, nil)
}

// Meet gives a stream a line that its worker has opened, and reports whether the stream accepts it. It does not block.
func (g *Gateway) Meet(token string, l flow.Line) bool {
	s, ok := g.streams.Find(token)
	return ok && s.Join(l)
}

// Parted ends a stream whose line has ended, unless the stream is complete. If the line was not used in either
// direction, the worker has given it up, for example because it waited too long for an answer, and bodies go over the
// transport instead. It does not block.
func (g *Gateway) Parted(token string, used bool) {
	if s, ok := g.streams.Find(token); ok && (used || !s.Unjoin()) {
		s.endBehind(flow.Bulk, flow.ErrLost)
	}
}

// disown tells a worker that no request waits for what it sends.
func (g *Gateway) disown(from flow.Address, f frame.Frame) {
	switch f := f.(type) {
	case *frame.Response:
		if !f.More {
			return
		}
	case *frame.Accept, *frame.Info, *frame.Data, *frame.Part:
	default:
		return
	}
	if from.Token != "" {
		g.stats.ResetsOut.Count(frame.CodeCancelled)
		_ = g.transport.Send(flow.Control, from, "", frame.Append(nil, frame.NewReset(frame.CodeCancelled, "gone"))) // Its next frame causes another.
	}
}

// Unheard ends a stream whose last frame no process received, and all streams of the process if token is
// [flow.ControlToken]. It does not block.
func (g *Gateway) Unheard(token, process string) {
	if token == flow.ControlToken {
		g.workers.unheard(process)
		return
	}
	if s, ok := g.streams.Find(token); ok {
		s.unheard()
	}
}

// Lost ends all streams, because frames to them may have been lost. It does not block.
func (g *Gateway) Lost() {
	for _, s := range g.streams.All() {
		s.lose(flow.ErrLost)
	}
}

// Beat exchanges heartbeats with the workers of the streams under way. The transport calls it every [flow.BeatEvery]. It does
// not block.
func (g *Gateway) Beat(now time.Time) { g.workers.beat(now, g.transport, g.opts.Silence) }
