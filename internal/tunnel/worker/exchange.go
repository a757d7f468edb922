package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// What a request's context ends with, beside its deadline; see [context.Cause].
var (
	errClientGone  = fmt.Errorf("tunnel: nobody waits for the response: %w", context.Canceled)
	errGatewayLost = fmt.Errorf("tunnel: gateway lost: %w", context.Canceled)
	errGoingAway   = fmt.Errorf("tunnel: the module stops: %w", context.Canceled)
)

// exchange is the worker's side of one request. It costs a stream only when it takes longer than a moment, or more
// than a frame.
type exchange struct {
	flow.Stream
	worker   *Worker
	req      *frame.Request
	above    serverContext
	ctx      context.Context //nolint:containedctx // it is the request's, as long as the request
	cancel   context.CancelCauseFunc
	free     context.CancelFunc // of the flow.Deadline
	w        writer
	body     body
	clock    *time.Timer  // accepts the request, and flushes what was written
	accepted atomic.Bool  // the gateway knows the stream
	headSent atomic.Bool  // the head is sent, and more of the response follows
	joining  sync.Mutex   // held while a line is opened, so that no part of a response is sent meanwhile
	heard    atomic.Int64 // when the gateway last mentioned the stream, in Unix nanoseconds
	over     bool         // the handler has returned, or the hijacked connection is closed
}

func newExchange(ctx context.Context, wk *Worker, req *frame.Request, from flow.Address) *exchange {
	x := &exchange{
		worker: wk, req: req, free: func() {},
		Stream: flow.Stream{Transport: wk.transport, Budget: &wk.budget, Stats: &wk.stats, Peer: from},
	}
	x.ReceiveCredit(req.Credit)
	if req.Deadline > 0 {
		ctx, x.free = context.WithTimeout(ctx, req.Deadline)
	}
	x.above = serverContext{ctx}
	x.ctx, x.cancel = context.WithCancelCause(&x.above)
	x.w = newWriter(x, req.Method)
	return x
}

// serverContext has what net/http's server puts into contexts. Handlers look there to find out whether they may panic
// to break a response off: without it, [net/http/httputil.ReverseProxy] ends one that is cut as if it were whole.
type serverContext struct{ context.Context } //nolint:containedctx // it is one

var server = &http.Server{ReadHeaderTimeout: time.Minute} // It serves nobody.

// Value implements [context.Context].
func (c *serverContext) Value(key any) any {
	switch key {
	case http.ServerContextKey:
		return server
	case http.LocalAddrContextKey:
		return addr("modulebus")
	}
	return c.Context.Value(key)
}

// serve runs the handler, and then completes the response.
func (x *exchange) serve(h http.Handler, r *http.Request) {
	defer x.free()
	x.clock = time.AfterFunc(time.Hour, x.tick)
	x.clock.Reset(x.worker.opts.AcceptAfter) // Not earlier, because tick uses the clock.
	failed := x.run(h, r)
	x.clock.Stop()
	if x.w.hijacked() {
		return // The handler closes the hijacked connection.
	}
	if failed == nil {
		failed = x.w.complete()
	}
	if failed != nil {
		x.cut(failed)
	}
	x.leave()
}

// open returns the handler's request.
func (x *exchange) open() (*http.Request, error) {
	h, err := newRequest(x.ctx, x.req)
	switch {
	case err != nil || x.req.Upgrade:
	case x.req.More:
		x.body.x, x.body.request = x, h
		h.Body = &x.body
		announce(h)
	case x.req.ContentLength != 0:
		h.Body = io.NopCloser(bytes.NewReader(x.req.Body))
	}
	return h, err
}

// run calls the handler and turns a panic into a reset, which does not show the client the panic's value.
func (x *exchange) run(h http.Handler, r *http.Request) (failed *frame.Reset) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		failed = caught(v)
		if failed.Code == frame.CodePanic {
			x.worker.opts.OnPanic(v, debug.Stack())
		}
	}()
	h.ServeHTTP(&x.w, r)
	return nil
}

func caught(v any) *frame.Reset {
	if v == http.ErrAbortHandler {
		return frame.NewReset(frame.CodeAborted, "aborted the request")
	}
	return frame.NewReset(frame.CodePanic, "panicked")
}

// tick tells the gateway that the handler is at work, and sends what it wrote some time ago.
func (x *exchange) tick() {
	x.accept(0)
	x.w.tick()
}

// reach makes the stream reachable for the gateway. It reports false if the stream has ended.
func (x *exchange) reach() bool {
	x.Lock()
	defer x.Unlock()
	if x.over {
		return false
	}
	if x.Token != "" {
		return true
	}
	x.Token = flow.NewToken()
	x.heard.Store(time.Now().UnixNano())
	x.worker.streams.Add(x.Token, x)
	x.Stats.Open.Add(1)
	return true
}

// accept tells the gateway where the stream is, and how much of the request's body it may send.
func (x *exchange) accept(credit uint64) {
	if !x.reach() {
		return
	}
	if !x.accepted.Swap(true) {
		x.Send(flow.Control, &frame.Accept{Credit: credit})
	} else if credit > 0 {
		x.Send(flow.Control, &frame.Credit{Offset: credit})
	}
}

// answer sends the only frame of a response. It needs no acknowledgement.
func (x *exchange) answer(raw []byte) error {
	x.Stats.Sent(raw)
	return x.Transport.Send(flow.Control, x.Peer, "", raw)
}

// near makes bodies go over a line if the gateway is on this machine. The gateway is asked to share memory if a response is
// worth that. A handler may read and write at the same time; then the second call waits for the first.
func (x *exchange) near(share bool) {
	x.joining.Lock()
	defer x.joining.Unlock()
	if !x.reach() || x.Near() || x.headSent.Load() {
		return
	}
	take := func(raw []byte) { x.worker.Receive(flow.Bulk, x.Token, x.Peer, raw) }
	reach := x.Transport.Near
	if t, ok := x.Transport.(flow.Sharing); ok && share {
		reach = t.NearSharing
	}
	line := reach(x.Peer, take, x.parted)
	if line != nil && !x.Join(line) {
		line.Close()
	}
}

// begins notes that the head is about to be sent. After it, no line is opened.
func (x *exchange) begins() {
	x.joining.Lock()
	defer x.joining.Unlock()
	x.headSent.Store(true)
}

// parted finds out, after the line has ended, whether the gateway is still there: it sends a credit without news.
func (x *exchange) parted() { x.Send(flow.Control, &frame.Credit{}) }

// leave forgets the stream. Later data for it is refused, and other frames are dropped.
func (x *exchange) leave() {
	x.Lock()
	over, known := x.over, x.Token != ""
	x.over = true
	x.Unlock()
	if over {
		return
	}
	if known {
		x.worker.streams.Remove(x.Token)
		x.Stats.Open.Add(-1)
	}
	x.Fail(http.ErrBodyReadAfterClose)
	x.Part(flow.Line.Leave)
	x.CloseCredit()
}

// limits returns the limits of waiting for the client. They do not end when a client has only closed its side.
func (x *exchange) limits(d *flow.Deadline) flow.Limits {
	return flow.Limits{Ctx: &x.above, Deadline: d.Channel()}
}

// terminate ends the stream and the request's context.
func (x *exchange) terminate(cause error) {
	x.Fail(cause)
	x.cancel(cause)
}

// abort ends the stream and tells the gateway. It is called where frames are received, so it must not wait for a line
// whose gateway accepts nothing: it closes the line, which tells the same.
func (x *exchange) abort(r *frame.Reset, cause error) {
	if x.Near() {
		x.Part(flow.Line.Close)
		x.resetBy(flow.Control, r)
	} else {
		x.reset(r)
	}
	x.terminate(cause)
}

// cut is abort after what was written: the client gets all of that, and sees that the response is truncated.
func (x *exchange) cut(r *frame.Reset) {
	if x.headSent.Load() {
		x.reset(r)
		return
	}
	x.abort(r, http.ErrAbortHandler)
}

// reset sends a reset to the gateway. It must not overtake data; it may overtake the head, which the gateway expects.
func (x *exchange) reset(r *frame.Reset) {
	by := flow.Control
	if x.headSent.Load() {
		by = flow.Bulk
	}
	x.resetBy(by, r)
}

func (x *exchange) resetBy(by flow.Channel, r *frame.Reset) {
	x.Stats.ResetsOut.Count(r.Code)
	x.Send(by, r)
}

// receive receives a frame, and keeps the memory that it was decoded from. It does not block.
func (x *exchange) receive(f frame.Frame, raw []byte) {
	x.heard.Store(time.Now().UnixNano())
	var wrong frame.Code
	switch f := f.(type) {
	case *frame.Data:
		wrong = x.ReceiveData(f, raw)
	case *frame.End:
		wrong = x.ReceiveEnd(f.Offset, f.Trailers)
	case *frame.Credit:
		x.ReceiveCredit(f.Offset)
	case *frame.Reset:
		x.Stats.ResetsIn.Count(f.Code)
		if f.Code == frame.CodeLeft {
			x.cancel(errClientGone)
			return
		}
		x.terminate(causeOf(f))
	}
	if wrong != 0 {
		x.abort(frame.NewReset(wrong, "lost a part of the request"), errGatewayLost)
	}
}

func causeOf(r *frame.Reset) error {
	if r.Code == frame.CodeCancelled || r.Code == frame.CodeBody {
		return errClientGone
	}
	return errors.Join(errGatewayLost, fmt.Errorf("reset: %v", r.Code))
}

// heartbeat receives what the gateway's heartbeat says of the stream.
func (x *exchange) heartbeat(other frame.State) {
	x.heard.Store(time.Now().UnixNano())
	if x.Receives() && x.ReceiveState(other) {
		x.abort(frame.NewReset(frame.CodeLost, "lost a part of the request"), errGatewayLost)
		return
	}
	x.ReceiveCredit(other.Credit)
}

func (x *exchange) silent(now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - x.heard.Load())
}
