package tunnel

import (
	"cmp"
	"net/http"
	"net/netip"
	"time"
)

// Carrier moves frames between a gateway and the workers of modules. Its methods may be called concurrently.
type Carrier interface {
	Line

	// Route returns whose path it is, or false when it is nobody's. The path is unescaped.
	Route(path string) (Destination, bool)
}

// GatewayOptions tune a gateway. Zero values mean the defaults; a negative time means never.
type GatewayOptions struct {
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

	// TrustedProxies say themselves where a request comes from: their X-Forwarded-* fields are passed on as they are. Those
	// of others are replaced by what the gateway saw. Default: nobody is trusted.
	TrustedProxies []netip.Prefix

	// Silence is how long nothing may be heard of a worker before its streams end. Default: 15 s.
	Silence time.Duration

	// Done is told what came of each routed request. It may be called concurrently. Default: nobody is told.
	Done func(*Report)
}

func (o GatewayOptions) withDefaults() GatewayOptions {
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

// Report is what came of one request.
type Report struct {
	To        Destination
	Status    int           // that the client was answered; 0 when it was not
	Outcome   Outcome       // why it ended
	Err       error         // of what failed, for the operator; the client was not told
	Retries   int           // how often another worker was asked
	Fast      bool          // it took one frame each way
	Accept    time.Duration // until a worker was heard of
	FirstByte time.Duration // until the response began; 0 when it did not
}

// Gateway is the [http.Handler] on the internet's side. Its methods may be called concurrently.
type Gateway struct {
	carrier Carrier
	opts    GatewayOptions
	streams *table[*call]
	peers   *peers
	budget  budget
	stats   Stats
}

// NewGateway returns a gateway, whose frames are to be given to Receive.
//
// It answers each request with the response of the module whose path it is. Bodies are streamed in both directions, as
// fast as their readers take them. When a response breaks off, so does the connection to the client, so that nobody
// takes it for a whole one.
//
// Its own answers are Matrix errors that name the module and carry [ErrorHeader]: 404 for a path without a route, 413
// and 431 for a request over the limits, 502 for a module that failed or answered nonsense, 503 with
// Retry-After for a module that is not running or has too much to do, 504 for one too slow. When the client leaves,
// the module is told, and ServeHTTP panics with [http.ErrAbortHandler], as net/http's server wants it. A handler
// around it must let that panic pass.
func NewGateway(c Carrier, opts GatewayOptions) *Gateway {
	return &Gateway{carrier: c, opts: opts.withDefaults(), streams: newTable[*call](), peers: newPeers()}
}

// ServeHTTP implements [http.Handler].
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to, ok := g.carrier.Route(r.URL.Path)
	if !ok {
		f := &failure{status: http.StatusNotFound, errcode: unrecognized}
		f.writeTo(w, "Unrecognized request")
		return
	}
	q := &request{g: g, w: w, r: r, began: time.Now(), report: Report{To: to}}
	defer g.opts.Done(&q.report)
	q.serve()
}

// Stats are counted by the gateway.
func (g *Gateway) Stats() *Stats { return &g.stats }

// Lent is how many streams there are, and how much may be under way to them, at most, in bytes.
func (g *Gateway) Lent() (streams int, credit int64) { return g.budget.out() }

// Receive takes a frame for a stream, or for [Peers], and keeps its memory. It does not block.
func (g *Gateway) Receive(token string, from Address, frame []byte) {
	g.stats.FramesIn.Add(1)
	g.stats.BytesIn.Add(int64(len(frame)))
	f, err := Decode(frame)
	if p, ok := f.(*Pong); ok && token == Peers {
		g.peers.answered(from, p)
		return
	}
	s, ok := g.streams.find(token)
	switch {
	case ok && err != nil:
		s.lose(badReply(err))
	case ok:
		s.take(from, f, frame)
	default:
		g.disown(from, f)
	}
}

// disown tells a worker that nobody waits for what it sends.
func (g *Gateway) disown(from Address, f Frame) {
	switch f := f.(type) {
	case *Response:
		if !f.More {
			return
		}
	case *Accept, *Info, *Data:
	default:
		return
	}
	if from.Token != "" {
		count(&g.stats.ResetsOut, CodeCancelled)
		_ = g.carrier.Send(Control, from, "", Append(nil, reset(CodeCancelled, "gone"))) // Its next frame tries again.
	}
}

// Unheard says that nobody got what a stream sent last, or what was sent to the process, if token is [Peers]. It does
// not block.
func (g *Gateway) Unheard(token, process string) {
	if token == Peers {
		g.peers.gone(process, ErrLost)
		return
	}
	if s, ok := g.streams.find(token); ok {
		s.unheard()
	}
}

// Lost ends all streams: what they were sent may be lost. It does not block.
func (g *Gateway) Lost() {
	for _, s := range g.streams.all() {
		s.lose(ErrLost)
	}
}

// Beat exchanges heartbeats with the workers of the streams there are. It is to be called about twice a second.
func (g *Gateway) Beat(now time.Time) { g.peers.beat(now, g.carrier, g.opts.Silence) }
