package worker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// decodeRequest reads a request frame, and refuses a body that contradicts its head.
func decodeRequest(raw []byte) (*frame.Request, error) {
	f, err := frame.Decode(raw)
	if err != nil {
		return nil, err
	}
	req, ok := f.(*frame.Request)
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

// newRequest returns the request that net/http's server would have made. Its body is still to be attached.
func newRequest(ctx context.Context, r *frame.Request) (*http.Request, error) {
	if !frame.IsToken(r.Method) {
		return nil, fmt.Errorf("method %q", r.Method)
	}
	target, err := targetOf(r)
	if err != nil {
		return nil, err
	}
	h := (&http.Request{
		Method:        r.Method,
		URL:           target,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        frame.HeaderOf(r.Fields),
		Body:          http.NoBody,
		ContentLength: r.ContentLength,
		Host:          r.Authority,
		RemoteAddr:    r.RemoteAddr,
		RequestURI:    r.Target,
	}).WithContext(ctx)
	if r.HTTP2 {
		h.Proto, h.ProtoMajor, h.ProtoMinor = "HTTP/2.0", 2, 0
	}
	if r.ContentLength < 0 && !r.HTTP2 && !r.Upgrade {
		h.TransferEncoding = []string{"chunked"}
	}
	if len(r.Trailers) > 0 && !r.Upgrade {
		h.Trailer = frame.HeaderOf(r.Trailers)
	}
	if r.Scheme == "https" {
		h.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	return h, nil
}

// targetOf reads the target as net/http's server does: that of a CONNECT may be a host and a port.
func targetOf(r *frame.Request) (*url.URL, error) {
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

// announce turns the Trailer field into the names that net/http's server shows before the body is read.
func announce(h *http.Request) {
	names := frame.Tokens(frame.FieldsOf(http.Header{"Trailer": h.Header["Trailer"]}), "Trailer")
	delete(h.Header, "Trailer")
	for _, name := range names {
		if h.Trailer == nil {
			h.Trailer = http.Header{}
		}
		h.Trailer[name] = nil
	}
}
