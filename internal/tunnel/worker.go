package tunnel

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// WorkerOptions tune a worker. Zero values mean the defaults.
type WorkerOptions struct {
	// AcceptAfter is how long a handler may be silent before the gateway is told that it is at work. Default: 50 ms.
	AcceptAfter time.Duration

	// Silence is how long nothing may be heard of a gateway before its streams end. Default: 20 s.
	Silence time.Duration

	// OnPanic is told what a handler panicked with, and the stack, but not of [http.ErrAbortHandler]. It may be called
	// concurrently. Default: nobody is told.
	OnPanic func(v any, stack []byte)
}

// Worker answers requests that come over a line with handlers. Its methods may be called concurrently.
type Worker struct {
	line    Line
	opts    WorkerOptions
	streams *table[*exchange]
	budget  budget
	stats   Stats
}

// NewWorker returns a worker on the line, whose frames are to be given to Receive and Serve.
func NewWorker(l Line, opts WorkerOptions) *Worker {
	opts.AcceptAfter = cmp.Or(opts.AcceptAfter, 50*time.Millisecond)
	opts.Silence = cmp.Or(opts.Silence, 20*time.Second)
	if opts.OnPanic == nil {
		opts.OnPanic = func(any, []byte) {}
	}
	return &Worker{line: l, opts: opts, streams: newTable[*exchange]()}
}

// Serve lets h answer one request, and returns when h does and all it wrote was sent. What it hijacked lives on, until
// it is closed.
//
// The handler sees what net/http's server would show it; its context is ctx with the request's deadline, and ends too
// when the client leaves or the gateway is lost. A small response is one frame; what is longer, is flushed, or stays
// unfinished for a moment is streamed, as fast as the client reads.
//
// When h panics, the client gets an error, or a response that is visibly cut. The panic goes no further.
func (wk *Worker) Serve(ctx context.Context, h http.Handler, from Address, frame []byte) {
	req, err := openRequest(frame)
	if err != nil {
		wk.Refuse(from, reset(CodeMalformed, "cannot read the request: "+err.Error()))
		return
	}
	x := wk.newExchange(ctx, req, from)
	defer x.cancel(context.Canceled)
	r, err := x.open()
	if err != nil {
		wk.Refuse(from, reset(CodeMalformed, "cannot read the request: "+err.Error()))
		return
	}
	x.serve(h, r)
}

// Refuse answers a request without a handler.
func (wk *Worker) Refuse(to Address, r *Reset) {
	count(&wk.stats.ResetsOut, r.Code)
	_ = wk.line.Send(Control, to, "", Append(nil, r)) // If that fails, the gateway hears nothing, and gives up in time.
}

// Busy is what a worker refuses a request with that it has no room for.
func Busy(limit int) *Reset {
	text := fmt.Sprintf("has %d requests under way", limit)
	return &Reset{Code: CodeRefused, Status: http.StatusServiceUnavailable, Retryable: true, Text: text}
}

// Receive takes a frame for a stream, or for [Peers], and keeps its memory. It does not block.
func (wk *Worker) Receive(token string, from Address, frame []byte) {
	wk.stats.FramesIn.Add(1)
	wk.stats.BytesIn.Add(int64(len(frame)))
	f, err := Decode(frame)
	if err != nil {
		f = reset(CodeMalformed, err.Error())
	}
	if p, ok := f.(*Ping); ok && token == Peers {
		wk.pong(from, p)
		return
	}
	if x, ok := wk.streams.find(token); ok {
		x.take(f, frame)
	} else if _, ok := f.(*Data); ok {
		wk.Refuse(from, reset(CodeCancelled, "takes no more of the request"))
	}
}

// Unheard says that nobody got what a stream sent last: its gateway is gone. It does not block.
func (wk *Worker) Unheard(token string) {
	if x, ok := wk.streams.find(token); ok {
		x.end(errGatewayLost)
	}
}

// Lost ends all streams: what they were sent may be lost. It does not block.
func (wk *Worker) Lost() {
	for _, x := range wk.streams.all() {
		x.end(errGatewayLost)
	}
}

// GoAway ends all streams, and tells the gateways.
func (wk *Worker) GoAway() {
	for _, x := range wk.streams.all() {
		x.abort(&Reset{Code: CodeGoingAway, Status: http.StatusServiceUnavailable, Text: "stops"}, errGoingAway)
	}
}

// Open is the number of streams there are: requests that took a while, bodies under way, and what was hijacked.
func (wk *Worker) Open() int { return int(wk.stats.Open.Load()) }

// Beat ends the streams of gateways that nothing was heard of for too long. It is to be called about every second.
func (wk *Worker) Beat(now time.Time) {
	for _, x := range wk.streams.all() {
		if x.silent(now) > wk.opts.Silence {
			x.end(errGatewayLost)
		}
	}
}

func (wk *Worker) pong(to Address, p *Ping) {
	states := make([]State, 0, len(p.States))
	for _, other := range p.States {
		x, ok := wk.streams.find(other.Token)
		if !ok {
			states = append(states, State{Token: other.Token, Gone: true})
			continue
		}
		states = append(states, x.state(other.Token))
		x.hear(other)
	}
	if p.Answer {
		_ = wk.line.Send(Control, to, Peers, Append(nil, &Pong{states})) // The next one will do.
	}
}

func reset(code Code, text string) *Reset {
	return &Reset{Code: code, Status: http.StatusBadGateway, Text: text}
}

func openRequest(frame []byte) (*Request, error) {
	f, err := Decode(frame)
	if err != nil {
		return nil, err
	}
	req, ok := f.(*Request)
	if !ok {
		return nil, fmt.Errorf("frame is a %T", f)
	}
	if !req.More && req.ContentLength >= 0 && req.ContentLength != int64(len(req.Body)) {
		return nil, fmt.Errorf("%d bytes of body, %d declared", len(req.Body), req.ContentLength)
	}
	if req.More && len(req.Body) > 0 {
		return nil, errors.New("part of a body with the head")
	}
	return req, nil
}

// open makes the request that net/http's server would have made.
func (x *exchange) open() (*http.Request, error) {
	r := x.req
	if !token(r.Method) {
		return nil, fmt.Errorf("method %q", r.Method)
	}
	target, err := r.url()
	if err != nil {
		return nil, err
	}
	h := (&http.Request{
		Method:        r.Method,
		URL:           target,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        headerOf(r.Fields),
		Body:          http.NoBody,
		ContentLength: r.ContentLength,
		Host:          r.Authority,
		RemoteAddr:    r.RemoteAddr,
		RequestURI:    r.Target,
	}).WithContext(x.ctx)
	if r.HTTP2 {
		h.Proto, h.ProtoMajor, h.ProtoMinor = "HTTP/2.0", 2, 0
	}
	if r.Scheme == "https" {
		h.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	x.attachBody(h)
	return h, nil
}

// url reads the target as net/http's server does: that of a CONNECT may be a host and a port.
func (r *Request) url() (*url.URL, error) {
	if r.Method != http.MethodConnect || strings.HasPrefix(r.Target, "/") {
		return url.ParseRequestURI(r.Target)
	}
	u, err := url.ParseRequestURI("http://" + r.Target)
	if err != nil {
		return nil, err
	}
	u.Scheme = ""
	return u, nil
}

func (x *exchange) attachBody(h *http.Request) {
	r := x.req
	switch {
	case r.Upgrade:
		return
	case r.More:
		x.body.x, x.body.request = x, h
		h.Body = &x.body
		announce(h)
	case r.ContentLength != 0:
		h.Body = io.NopCloser(bytes.NewReader(r.Body))
	}
	if r.ContentLength < 0 && !r.HTTP2 {
		h.TransferEncoding = []string{"chunked"}
	}
	if len(r.Trailers) > 0 {
		h.Trailer = headerOf(r.Trailers)
	}
}

// announce turns the Trailer field into the names that net/http's server shows before the body is read.
func announce(h *http.Request) {
	names := tokens(fieldsOf(http.Header{"Trailer": h.Header["Trailer"]}), "Trailer")
	delete(h.Header, "Trailer")
	for _, name := range names {
		if h.Trailer == nil {
			h.Trailer = http.Header{}
		}
		h.Trailer[name] = nil
	}
}
