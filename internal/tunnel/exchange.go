package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"
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
	stream
	worker   *Worker
	req      *Request
	above    serverContext
	ctx      context.Context //nolint:containedctx // it is the request's, as long as the request
	cancel   context.CancelCauseFunc
	free     context.CancelFunc // of the deadline
	w        writer
	body     body
	clock    *time.Timer  // accepts, and flushes what lies around
	accepted atomic.Bool  // the gateway knows the stream
	heard    atomic.Int64 // when the gateway last spoke of it, in Unix nanoseconds
	over     bool         // the handler has returned, or what it hijacked was closed
}

func (wk *Worker) newExchange(ctx context.Context, req *Request, from Address) *exchange {
	x := &exchange{
		worker: wk, req: req, free: func() {},
		stream: stream{line: wk.line, budget: &wk.budget, stats: &wk.stats, peer: from, credit: req.Credit},
	}
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

// serve runs the handler, and sends what it left.
func (x *exchange) serve(h http.Handler, r *http.Request) {
	defer x.free()
	x.clock = time.AfterFunc(time.Hour, x.tick)
	x.clock.Reset(x.worker.opts.AcceptAfter) // Only now, since tick uses the clock.
	failed := x.run(h, r)
	x.clock.Stop()
	if x.w.hijacked() {
		return // Whoever hijacked closes.
	}
	if failed == nil {
		failed = x.w.complete()
	}
	if failed != nil {
		x.breakOff(failed)
	}
	x.leave()
}

// run calls the handler and turns a panic into a reset, which tells the client nothing of what was panicked with.
func (x *exchange) run(h http.Handler, r *http.Request) (failed *Reset) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		failed = caught(v)
		if failed.Code == CodePanic {
			x.worker.opts.OnPanic(v, debug.Stack())
		}
	}()
	h.ServeHTTP(&x.w, r)
	return nil
}

func caught(v any) *Reset {
	if v == http.ErrAbortHandler {
		return reset(CodeAborted, "aborted the request")
	}
	return reset(CodePanic, "panicked")
}

// tick lets the gateway know that the handler is at work, and sends what it wrote some time ago.
func (x *exchange) tick() {
	x.accept(0)
	x.w.tick()
}

// reach makes the stream one that the gateway can send to. It reports whether that is still possible.
func (x *exchange) reach() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return false
	}
	if x.token != "" {
		return true
	}
	x.token = newToken()
	x.heard.Store(time.Now().UnixNano())
	x.worker.streams.add(x.token, x)
	x.stats.Open.Add(1)
	return true
}

// accept tells the gateway where the stream is, and how much of the request's body it may send.
func (x *exchange) accept(credit uint64) {
	if !x.reach() {
		return
	}
	if !x.accepted.Swap(true) {
		x.send(Control, &Accept{credit})
	} else if credit > 0 {
		x.send(Control, &Credit{credit})
	}
}

// leave forgets the stream: frames that still come find nobody.
func (x *exchange) leave() {
	x.mu.Lock()
	over, known := x.over, x.token != ""
	x.over = true
	x.mu.Unlock()
	if over {
		return
	}
	if known {
		x.worker.streams.remove(x.token)
		x.stats.Open.Add(-1)
	}
	x.fail(http.ErrBodyReadAfterClose)
	x.settle()
}

// end ends the stream and the request's context.
func (x *exchange) end(cause error) {
	if x.fail(cause) {
		x.cancel(cause)
	}
}

// abort ends the stream and tells the gateway.
func (x *exchange) abort(r *Reset, cause error) {
	count(&x.stats.ResetsOut, r.Code)
	x.send(Control, r)
	x.end(cause)
}

// breakOff is abort behind what was written: the client gets it, and sees that there is more to come.
func (x *exchange) breakOff(r *Reset) {
	if x.w.began {
		count(&x.stats.ResetsOut, r.Code)
		x.send(x.last(), r)
		return
	}
	x.abort(r, http.ErrAbortHandler)
}

// last is the channel of what was sent last: what is sent there does not overtake it.
func (x *exchange) last() Channel {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sent == 0 {
		return Control // The head is on its way, and nothing behind it.
	}
	return Bulk
}

// take takes a frame, and what it was decoded from. It does not block.
func (x *exchange) take(f Frame, frame []byte) {
	x.heard.Store(time.Now().UnixNano())
	var wrong Code
	switch f := f.(type) {
	case *Data:
		wrong = x.push(f, frame)
	case *End:
		wrong = x.stream.end(f.Offset, f.Trailers)
	case *Credit:
		x.grant(f.Offset)
	case *Reset:
		count(&x.stats.ResetsIn, f.Code)
		x.end(causeOf(f))
	}
	if wrong != 0 {
		x.abort(reset(wrong, "lost a part of the request"), errGatewayLost)
	}
}

func causeOf(r *Reset) error {
	if r.Code == CodeCancelled || r.Code == CodeBody {
		return errClientGone
	}
	return errors.Join(errGatewayLost, fmt.Errorf("reset: %v", r.Code))
}

// hear takes in what the gateway's heartbeat says.
func (x *exchange) hear(other State) {
	x.heard.Store(time.Now().UnixNano())
	if x.lends() && x.compare(other) {
		x.abort(reset(CodeLost, "lost a part of the request"), errGatewayLost)
		return
	}
	x.grant(other.Credit)
}

// lends reports whether something may come in.
func (x *exchange) lends() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.lent
}

func (x *exchange) silent(now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - x.heard.Load())
}
