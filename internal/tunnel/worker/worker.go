package worker

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// Options tune a worker. Zero values mean the defaults.
type Options struct {
	// AcceptAfter is how long a handler may be silent before the gateway is told that it is at work. Default: 50 ms.
	AcceptAfter time.Duration

	// Silence is how long a gateway may send nothing before its streams end. Default: 20 s.
	Silence time.Duration

	// OnPanic is told what a handler panicked with, and the stack, but not of [http.ErrAbortHandler]. It may be called
	// concurrently. Default: nobody is told.
	OnPanic func(v any, stack []byte)
}

// Worker answers requests that come as frames with handlers. Its methods may be called concurrently.
type Worker struct {
	transport flow.Transport
	opts      Options
	streams   *flow.Table[*exchange]
	budget    flow.Budget
	stats     flow.Stats
}

// New returns a worker on the transport. Requests must be given to Serve, and all other frames to Receive.
func New(t flow.Transport, opts Options) *Worker {
	opts.AcceptAfter = cmp.Or(opts.AcceptAfter, 50*time.Millisecond)
	opts.Silence = cmp.Or(opts.Silence, 20*time.Second)
	if opts.OnPanic == nil {
		opts.OnPanic = func(any, []byte) {}
	}
	return &Worker{transport: t, opts: opts, streams: flow.NewTable[*exchange]()}
}

// Serve lets h answer one request, and returns when h has returned and everything it wrote is sent. A hijacked
// connection lives on until it is closed.
//
// The handler sees what net/http's server would show it; its context is ctx with the request's deadline, and ends too
// when the client leaves or the gateway is lost. A small response is one frame; what is longer, is flushed, or stays
// unfinished for a moment is streamed, as fast as the client reads.
//
// When h panics, the client gets an error, or a response that is visibly cut. The panic goes no further.
func (wk *Worker) Serve(ctx context.Context, h http.Handler, from flow.Address, raw []byte) {
	req, err := decodeRequest(raw)
	if err != nil {
		wk.Refuse(from, frame.NewReset(frame.CodeMalformed, "cannot read the request: "+err.Error()))
		return
	}
	x := newExchange(ctx, wk, req, from)
	defer x.cancel(context.Canceled)
	r, err := x.open()
	if err != nil {
		wk.Refuse(from, frame.NewReset(frame.CodeMalformed, "cannot read the request: "+err.Error()))
		return
	}
	x.serve(h, r)
}

// Refuse answers a request without a handler.
func (wk *Worker) Refuse(to flow.Address, r *frame.Reset) {
	wk.stats.ResetsOut.Count(r.Code)
	_ = wk.transport.Send(flow.Control, to, "", frame.Append(nil, r)) // If it fails, the gateway gives up after its own timeout.
}

// Busy returns the reset with which a worker refuses a request for which it has no room.
func Busy(limit int) *frame.Reset {
	text := fmt.Sprintf("has %d requests under way", limit)
	return &frame.Reset{Code: frame.CodeRefused, Status: http.StatusServiceUnavailable, Retryable: true, Text: text}
}

// Receive receives a frame for a stream, or for [flow.ControlToken], and keeps its memory. It does not block.
func (wk *Worker) Receive(_ flow.Channel, token string, from flow.Address, raw []byte) {
	wk.stats.Received(raw)
	f, err := frame.Decode(raw)
	if err != nil {
		f = frame.NewReset(frame.CodeMalformed, err.Error())
	}
	if p, ok := f.(*frame.Ping); ok && token == flow.ControlToken {
		wk.pong(from, p)
		return
	}
	if x, ok := wk.streams.Find(token); ok {
		x.receive(f, raw)
	} else if _, ok := f.(*frame.Data); ok {
		wk.Refuse(from, frame.NewReset(frame.CodeCancelled, "takes no more of the request"))
	}
}

// Unheard ends a stream whose last frame no process received: its gateway is gone. It does not block.
func (wk *Worker) Unheard(token, _ string) {
	if x, ok := wk.streams.Find(token); ok {
		x.terminate(errGatewayLost)
	}
}

// Lost ends all streams, because frames to them may have been lost. It does not block.
func (wk *Worker) Lost() {
	for _, x := range wk.streams.All() {
		x.terminate(errGatewayLost)
	}
}

// GoAway ends all streams, and tells the gateways.
func (wk *Worker) GoAway() {
	for _, x := range wk.streams.All() {
		x.abort(&frame.Reset{Code: frame.CodeGoingAway, Status: http.StatusServiceUnavailable, Text: "stops"}, errGoingAway)
	}
}

// Open returns the number of streams: requests that took a while, bodies under way, and hijacked connections.
func (wk *Worker) Open() int { return int(wk.stats.Open.Load()) }
