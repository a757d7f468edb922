package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Carrier moves frames between a gateway and the workers of modules. Its methods may be called concurrently.
type Carrier interface {
	// Route returns whose path it is, or false when it is nobody's. The path is unescaped.
	Route(path string) (Destination, bool)

	// Exchange sends one frame to any one worker of to and returns its one reply frame, which the caller then owns.
	// The frame is not used after it returns. It returns early, with an error, when ctx ends; nothing delivered is
	// [ErrAbsent], and no answer to come is [ErrLost].
	Exchange(ctx context.Context, to Destination, frame []byte) ([]byte, error)

	// MaxFrame returns the size in bytes of the largest frame that can be sent now. It is asked for each request.
	MaxFrame() int
}

// Destination is a web resource that a module serves.
type Destination struct{ Module, Resource string }

// GatewayOptions tune a gateway. Zero values mean the defaults.
type GatewayOptions struct {
	// ResponseTimeout is how long a module may take to answer, counted from when the request was read whole. The
	// module is told. Past it the client is answered 504. Default: 90 s.
	ResponseTimeout time.Duration

	// HeaderLimit is the largest request target and header, in bytes, that is passed on; larger ones are answered
	// 431. What does not fit a frame is refused in any case. Default: 64 KiB.
	HeaderLimit int

	// OnFailure is told of each routed request that got no answer of the module, with the cause that the client does
	// not see; it matches [context.Canceled] when the client left. It may be called concurrently. Default: nobody is
	// told.
	OnFailure func(to Destination, err error)
}

// NewGateway returns a handler that passes each request to the module whose path it is, as one frame, and answers
// with the module's response. It may be called concurrently.
//
// Its own answers are Matrix errors that name the module and carry [ErrorHeader]: 404 for a path without a route, 413
// and 431 for a request that does not fit a frame, 501 for upgrades, 502 for a module that failed or answered
// nonsense, 503 with Retry-After for a module that is not running, 504 for one too slow. When the client leaves, it
// stops waiting and panics with [http.ErrAbortHandler], as net/http's server wants it.
func NewGateway(c Carrier, opts GatewayOptions) http.Handler {
	opts.ResponseTimeout = cmp.Or(opts.ResponseTimeout, 90*time.Second)
	opts.HeaderLimit = cmp.Or(opts.HeaderLimit, 64<<10)
	if opts.OnFailure == nil {
		opts.OnFailure = func(Destination, error) {}
	}
	return &gateway{c, opts}
}

type gateway struct {
	carrier Carrier
	opts    GatewayOptions
}

// ServeHTTP implements [http.Handler].
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to, ok := g.carrier.Route(r.URL.Path)
	if !ok {
		f := &failure{status: http.StatusNotFound, errcode: unrecognized}
		f.writeTo(w, "Unrecognized request")
		return
	}
	rsp, err := g.ask(w, r, to)
	if err != nil {
		g.fail(w, to, err)
		return
	}
	rsp.writeTo(w, r.Method)
}

// ask is the one path of a request: read it, send it, read the reply.
func (g *gateway) ask(w http.ResponseWriter, r *http.Request, to Destination) (*Response, error) {
	limit := g.carrier.MaxFrame()
	req, err := g.read(w, r, limit)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.opts.ResponseTimeout)
	defer cancel()
	frame, err := encode(ctx, req, limit)
	if err != nil {
		return nil, err
	}
	reply, err := g.carrier.Exchange(ctx, to, frame)
	if err != nil {
		return nil, exchangeFailure(r.Context(), ctx, err)
	}
	return readReply(r.Method, reply)
}

func (g *gateway) fail(w http.ResponseWriter, to Destination, err error) {
	g.opts.OnFailure(to, err)
	var f *failure
	if !errors.As(err, &f) {
		panic(http.ErrAbortHandler) // To return here would say 200 to whoever still listens.
	}
	f.writeTo(w, fmt.Sprintf("module %s %s", to.Module, f.text))
}

// read takes in the whole request, never more than limit bytes of body. Nothing of the body is read, and no 100
// Continue is sent, before all else was found good.
func (g *gateway) read(w http.ResponseWriter, r *http.Request, limit int) (*Request, error) {
	if upgrades(r) {
		text := "is behind a gateway that does not carry upgrades yet"
		return nil, &failure{status: http.StatusNotImplemented, errcode: unrecognized, text: text}
	}
	req := newRequest(r)
	if headSize(req) > g.opts.HeaderLimit || len(req.Fields) > MaxFields {
		return nil, headTooLarge(g.opts.HeaderLimit)
	}
	var err error
	req.Body, err = readBody(w, r, limit)
	req.Trailers = endToEnd(fieldsOf(r.Trailer)) // Complete only now.
	return req, err
}

// upgrades reports whether the request asks for another protocol. An offer of h2c is not refused but ignored, as
// RFC 9110, section 7.8 allows: some clients make it with every request.
func upgrades(r *http.Request) bool {
	protocol := r.Header.Get("Upgrade")
	if protocol == "" || strings.EqualFold(protocol, "h2c") {
		return r.Method == http.MethodConnect
	}
	for _, s := range tokens(fieldsOf(r.Header), "Connection") {
		if s == "Upgrade" {
			return true
		}
	}
	return false
}

func newRequest(r *http.Request) *Request {
	req := &Request{
		ContentLength: r.ContentLength,
		RemoteAddr:    r.RemoteAddr,
		Scheme:        "http",
		Method:        r.Method,
		Authority:     r.Host,
		Target:        cmp.Or(r.RequestURI, r.URL.RequestURI()),
	}
	if r.TLS != nil {
		req.Scheme = "https"
	}
	req.Fields = forwarded(endToEnd(fieldsOf(r.Header)), req)
	return req
}

// headSize is what the client chose of the head, in bytes.
func headSize(r *Request) int {
	n := len(r.Method) + len(r.Authority) + len(r.Target)
	for _, f := range r.Fields {
		n += len(f.Name) + len(f.Value)
	}
	return n
}

func readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, error) {
	if r.ContentLength >= int64(limit) {
		return nil, bodyTooLarge(limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)-1)) // It reads one byte more, to know.
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &large):
		return nil, bodyTooLarge(limit)
	case r.Context().Err() != nil:
		return nil, errGone
	}
	return nil, &failure{http.StatusBadRequest, unknown, "was not asked: the request body is broken", false, err}
}

// encode gives the module the time that ctx has left, and refuses what does not fit.
func encode(ctx context.Context, r *Request, limit int) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	r.Deadline = max(time.Until(deadline), time.Millisecond)
	frame := AppendRequest(nil, r)
	switch {
	case len(frame)-len(r.Body) > limit || len(r.Trailers) > MaxFields:
		return nil, headTooLarge(limit)
	case len(frame) > limit:
		return nil, bodyTooLarge(limit)
	}
	return frame, nil
}

// readReply returns the response in a reply frame, if it is one that may answer the method.
func readReply(method string, reply []byte) (*Response, error) {
	frame, err := Decode(reply)
	if err != nil {
		return nil, badReply(err)
	}
	switch f := frame.(type) {
	case *Reset:
		return nil, resetFailure(f)
	case *Response:
		return f, f.check(method)
	}
	return nil, badReply(fmt.Errorf("reply is a %T", frame))
}

// check refuses what would put the client out of step with the server.
func (r *Response) check(method string) error {
	if r.Status < 200 {
		return badReply(fmt.Errorf("status %d", r.Status))
	}
	if bodyless(method, r.Status) {
		if len(r.Body) > 0 {
			return badReply(fmt.Errorf("%d bytes of body to a %s with status %d", len(r.Body), method, r.Status))
		}
		return nil
	}
	if r.ContentLength >= 0 && r.ContentLength != int64(len(r.Body)) {
		return badReply(fmt.Errorf("%d bytes of body, %d declared", len(r.Body), r.ContentLength))
	}
	return nil
}

// writeTo answers with the response. The trailers are there before the head is written, so that the server chooses a
// framing that can carry them, and alone afterwards, so that a name in both sections is not sent twice.
func (r *Response) writeTo(w http.ResponseWriter, method string) {
	h := w.Header()
	h["Content-Type"] = nil // The module's worker has sniffed, or was told not to.
	for _, f := range endToEnd(r.Fields) {
		h.Add(f.Name, f.Value)
	}
	h.Del("Content-Length")
	if r.ContentLength >= 0 {
		h.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	trailers := endToEnd(r.Trailers)
	addTrailers(h, trailers)
	w.WriteHeader(r.Status)
	if !bodyless(method, r.Status) {
		_, _ = w.Write(r.Body) // It fails only when the client is gone.
	}
	if len(trailers) > 0 {
		clear(h)
		addTrailers(h, trailers)
	}
}

func addTrailers(h http.Header, trailers []Field) {
	for _, f := range trailers {
		if f.Name != "Content-Length" && f.Name != "Trailer" {
			h.Add(http.TrailerPrefix+f.Name, f.Value)
		}
	}
}

// bodyless reports whether a response never has a body, whatever its Content-Length says.
func bodyless(method string, status int) bool {
	return method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
}
