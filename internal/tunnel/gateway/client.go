package gateway

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// client writes a response to the client.
type client struct {
	w        http.ResponseWriter
	stall    time.Duration
	limited  time.Time // when the deadline was last moved
	informed bool      // a 1xx was sent
	began    bool      // the head was sent
}

// errWrite is wrapped by each error of writing to the client.
var errWrite = errors.New("tunnel: client gone")

func writeError(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errWrite, err)
}

// inform passes an informational response on.
func (c *client) inform(i *frame.Info) {
	c.informed = true
	h := c.w.Header()
	for _, f := range frame.EndToEnd(i.Fields) {
		h.Add(f.Name, f.Value)
	}
	c.w.WriteHeader(i.Status)
	clear(h)
}

// head writes the head. It first sets the trailers that have arrived already, so that the server chooses a framing that
// can carry them.
func (c *client) head(rsp *frame.Response) {
	c.began = true
	h := c.w.Header()
	h["Content-Type"] = nil // The module's worker has already sniffed the type, or was told not to.
	frame.AddFieldsSized(h, frame.EndToEnd(rsp.Fields), rsp.ContentLength)
	addTrailers(h, frame.EndToEnd(rsp.Trailers))
	c.w.WriteHeader(rsp.Status)
}

// buffered is how many bytes net/http's server accepts without waiting for the client.
const buffered = 2 << 10

// write writes to the client, which must accept it within the stall timeout.
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

// limit extends the deadline for writes, no more often than needed.
func (c *client) limit() {
	if c.stall <= 0 {
		return
	}
	now := time.Now()
	if now.Sub(c.limited) < c.stall/8 {
		return
	}
	c.limited = now
	_ = http.NewResponseController(c.w).SetWriteDeadline(now.Add(c.stall)) // A writer without deadlines has no client that stalls.
}

// release removes the deadline, because the connection may serve other requests.
func (c *client) release() {
	if !c.limited.IsZero() {
		_ = http.NewResponseController(c.w).SetWriteDeadline(time.Time{}) // As in limit.
	}
}

// trailers sets the trailers, and removes all else from the header, so that a name in both sections is not sent twice.
func (c *client) trailers(fields []frame.Field) {
	if len(fields) > 0 {
		clear(c.w.Header())
		addTrailers(c.w.Header(), fields)
	}
}

func addTrailers(h http.Header, trailers []frame.Field) {
	for _, f := range trailers {
		if f.Name != "Content-Length" && f.Name != "Trailer" {
			h.Add(http.TrailerPrefix+f.Name, f.Value)
		}
	}
}

// abort breaks the connection, so that the client does not mistake a truncated response for a complete one. It does not
// return. In HTTP/1.0 the end of the connection is the end of the response, so the connection is reset.
func (c *client) abort(r *http.Request) {
	if c.began && !r.ProtoAtLeast(1, 1) {
		if conn, _, err := http.NewResponseController(c.w).Hijack(); err == nil {
			closeWithReset(conn)
		}
	}
	panic(http.ErrAbortHandler)
}

// closeWithReset closes a connection with a reset.
func closeWithReset(conn net.Conn) {
	inner := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		inner = t.NetConn()
	}
	if t, ok := inner.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0) // If it fails, the close is an ordinary one.
	}
	_ = inner.Close()
}
