package tunnel

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
)

// Serve lets h answer one request frame and returns the reply frame, always, of at most maxFrame bytes. It returns
// when h does.
//
// The handler sees what net/http's server would show it; its context is ctx with the request's deadline. The response
// is held until h returns, up to maxFrame bytes: writing more fails, and the reply then says so in place of the
// response. Informational responses (1xx) are dropped, and Flush sends nothing early.
//
// When h panics, the reply is a [Reset] and onPanic, if not nil, is given the value and the stack before Serve
// returns; [http.ErrAbortHandler] is a panic on purpose and not reported. The panic goes no further.
//
// maxFrame must leave room for a Reset: [MaxText] bytes and 16 more.
func Serve(ctx context.Context, h http.Handler, frame []byte, maxFrame int, onPanic func(v any, stack []byte)) []byte {
	req, err := openRequest(frame)
	if err != nil {
		return AppendReset(nil, reset(CodeMalformed, "cannot read the request: "+err.Error()))
	}
	ctx, cancel := withDeadline(ctx, req)
	defer cancel()
	r, err := req.open(ctx)
	if err != nil {
		return AppendReset(nil, reset(CodeMalformed, "cannot read the request: "+err.Error()))
	}
	w := newWriter(r.Method, maxFrame)
	if failed := run(h, w, r, onPanic); failed != nil {
		return AppendReset(nil, failed)
	}
	return w.frame()
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
	if req.ContentLength >= 0 && req.ContentLength != int64(len(req.Body)) {
		return nil, fmt.Errorf("%d bytes of body, %d declared", len(req.Body), req.ContentLength)
	}
	return req, nil
}

func withDeadline(ctx context.Context, r *Request) (context.Context, context.CancelFunc) {
	if r.Deadline == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, r.Deadline)
}

// open makes the request that net/http's server would have made.
func (r *Request) open(ctx context.Context) (*http.Request, error) {
	if !token(r.Method) {
		return nil, fmt.Errorf("method %q", r.Method)
	}
	target, err := url.ParseRequestURI(r.Target)
	if err != nil {
		return nil, err
	}
	h := &http.Request{
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
	}
	r.attachBody(h)
	return h.WithContext(ctx), nil
}

func (r *Request) attachBody(h *http.Request) {
	if r.ContentLength != 0 {
		h.Body = io.NopCloser(bytes.NewReader(r.Body))
	}
	if r.ContentLength < 0 {
		h.TransferEncoding = []string{"chunked"}
	}
	if len(r.Trailers) > 0 {
		h.Trailer = headerOf(r.Trailers)
	}
}

// run calls the handler and turns a panic into a reset, which tells the client nothing of what was panicked with.
func run(h http.Handler, w http.ResponseWriter, r *http.Request, onPanic func(any, []byte)) (failed *Reset) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		failed = caught(v)
		if failed.Code == CodePanic && onPanic != nil {
			onPanic(v, debug.Stack())
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}

func caught(v any) *Reset {
	if v == http.ErrAbortHandler {
		return reset(CodeAborted, "aborted the request")
	}
	return reset(CodePanic, "panicked")
}
