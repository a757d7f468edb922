package tunnel

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// client is what the response is written to.
type client struct {
	w        http.ResponseWriter
	stall    time.Duration
	limited  time.Time // when the deadline was last moved
	informed bool      // a 1xx was sent
	began    bool      // the head was sent
}

// inform passes an informational response on.
func (q *request) inform(i *Info) {
	q.out.informed = true
	h := q.w.Header()
	for _, f := range endToEnd(i.Fields) {
		h.Add(f.Name, f.Value)
	}
	q.w.WriteHeader(i.Status)
	clear(h)
}

// pass writes the response. An error after its head means that it is not whole.
func (q *request) pass(s *call, rsp *Response) error {
	q.settleUpload()
	q.out.head(rsp)
	q.report.Status, q.report.Outcome = rsp.Status, OK
	trailers, err := q.passBody(s, rsp)
	if err != nil {
		return q.brokeOff(s, err)
	}
	q.out.trailers(endToEnd(trailers))
	q.out.release()
	return nil
}

func (q *request) passBody(s *call, rsp *Response) ([]Field, error) {
	if !rsp.More {
		if bodyless(q.r.Method, rsp.Status) {
			return rsp.Trailers, nil
		}
		return rsp.Trailers, q.out.write(rsp.Body)
	}
	if err := q.out.flush(); err != nil {
		return nil, err
	}
	n, err := q.stream(s)
	if err == nil && !bodyless(q.r.Method, rsp.Status) && rsp.ContentLength >= 0 && n != rsp.ContentLength {
		err = lostFrames(CodeLost)
	}
	return s.trailers, err
}

// stream writes what comes in as it comes in.
func (q *request) stream(s *call) (total int64, err error) {
	idle := newTimer(q.g.opts.IdleTimeout)
	defer idle.stop()
	for {
		part, more, err := s.next(limits{ctx: q.ctx, timer: idle.c()})
		switch {
		case errors.Is(err, io.EOF):
			return total, nil
		case err != nil:
			return total, err
		}
		if err := q.out.write(part.bytes); err != nil {
			return total, err
		}
		if !more {
			if err := q.out.flush(); err != nil {
				return total, err
			}
		}
		n := len(part.bytes)
		part.cut(n)
		total += int64(n)
		s.took(n)
		idle.reset(q.g.opts.IdleTimeout)
	}
}

// brokeOff says why a response is not whole, and tells the worker.
func (q *request) brokeOff(s *call, err error) error {
	switch {
	case errors.Is(err, errTimer):
		err = timedOut(IdleTimeout, "paused for too long")
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &failure{outcome: ClientStalled, text: "was read too slowly", cause: err}
	case errors.Is(err, errWrite):
		err = errGone
	}
	if s.fail(err) {
		s.reset(CodeCancelled)
	}
	return err
}

// errWrite is the cause of each error of writing to the client.
var errWrite = errors.New("tunnel: client gone")

func writeError(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errWrite, err)
}

// head writes the head. The trailers that are there already are set before it, so that the server chooses a framing
// that can carry them.
func (c *client) head(rsp *Response) {
	c.began = true
	h := c.w.Header()
	h["Content-Type"] = nil // The module's worker has sniffed, or was told not to.
	addFields(h, endToEnd(rsp.Fields))
	h.Del("Content-Length")
	if rsp.ContentLength >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(rsp.ContentLength, 10)}
	}
	addTrailers(h, endToEnd(rsp.Trailers))
	c.w.WriteHeader(rsp.Status)
}

// buffered is what net/http's server takes without waiting for the client.
const buffered = 2 << 10

// write writes to the client, which has the stall timeout to take it.
func (c *client) write(b []byte) error {
	if len(b) > buffered {
		c.limit()
	}
	_, err := c.w.Write(b)
	return writeError(err)
}

func (c *client) flush() error {
	c.limit()
	err := http.NewResponseController(c.w).Flush()
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return writeError(err)
}

// limit moves the deadline for writes on, not more often than needed.
func (c *client) limit() {
	if c.stall <= 0 {
		return
	}
	now := time.Now()
	if now.Sub(c.limited) < c.stall/8 {
		return
	}
	c.limited = now
	_ = http.NewResponseController(c.w).SetWriteDeadline(now.Add(c.stall)) // A writer without has no client that stalls.
}

// release takes the deadline back: the connection may serve other requests.
func (c *client) release() {
	if !c.limited.IsZero() {
		_ = http.NewResponseController(c.w).SetWriteDeadline(time.Time{}) // As in limit.
	}
}

// trailers stand alone in the header, so that a name in both sections is not sent twice.
func (c *client) trailers(fields []Field) {
	if len(fields) > 0 {
		clear(c.w.Header())
		addTrailers(c.w.Header(), fields)
	}
}

func addTrailers(h http.Header, trailers []Field) {
	for _, f := range trailers {
		if f.Name != "Content-Length" && f.Name != "Trailer" {
			h.Add(http.TrailerPrefix+f.Name, f.Value)
		}
	}
}

// abort breaks the connection, so that no client takes what it got for all of it. It does not return. HTTP/1.0 knows
// the end of a response by the end of the connection, so that must be a reset.
func (c *client) abort(r *http.Request) {
	if c.began && !r.ProtoAtLeast(1, 1) {
		if conn, _, err := http.NewResponseController(c.w).Hijack(); err == nil {
			slam(conn)
		}
	}
	panic(http.ErrAbortHandler)
}

// slam closes a connection with a reset.
func slam(conn net.Conn) {
	inner := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		inner = t.NetConn()
	}
	if t, ok := inner.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0) // Then the close is an ordinary one.
	}
	_ = inner.Close()
}

// bodyless reports whether a response never has a body, whatever its Content-Length says.
func bodyless(method string, status int) bool {
	return method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
}
