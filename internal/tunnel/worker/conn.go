package worker

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// maxHead is the longest head of a response, in bytes, that a handler may write to what it hijacked. Beyond: the write
// fails, and the client is answered 502.
const maxHead = 64 << 10

// conn is what a handler hijacked. It may be used by any number of goroutines.
type conn struct {
	x       *exchange
	reads   chan struct{} // of one: held by the reader
	writes  chan struct{} // of one: held by the writer
	rest    flow.Part
	head    []byte         // of the response, until it is whole
	raw     bool           // the protocol was switched
	foreign *io.PipeWriter // where the rest of another response goes
	ended   sync.WaitGroup // the goroutine that reads from it
	readBy  flow.Deadline
	writeBy flow.Deadline
	once    sync.Once
	half    sync.Once
	closed  chan struct{}
}

// newConn takes the stream away from the writer, which holds its lock and has set the status, or none.
func newConn(x *exchange, status int, head []frame.Field) (*conn, error) {
	if status != 0 && status != http.StatusSwitchingProtocols {
		return nil, errors.New("tunnel: cannot hijack what was answered")
	}
	credit, ok := x.OpenCredit()
	if !ok {
		return nil, errors.New("tunnel: too many streams are under way")
	}
	c := &conn{x: x, reads: make(chan struct{}, 1), writes: make(chan struct{}, 1), closed: make(chan struct{})}
	x.accept(credit)
	if status == 0 {
		return c, nil
	}
	return c, c.upgrade(status, head)
}

// upgrade sends the head after which the connection carries the other protocol.
func (c *conn) upgrade(status int, fields []frame.Field) error {
	c.raw = true
	c.x.begins()
	rsp := &frame.Response{More: true, Upgrade: true, Status: status, ContentLength: -1, Fields: fields}
	return c.x.Post(flow.Control, frame.Append(nil, rsp))
}

// lock waits for its turn.
func (c *conn) lock(turn chan struct{}, d *flow.Deadline) error {
	passed := d.Channel()
	if flow.IsClosed(passed) {
		return os.ErrDeadlineExceeded
	}
	select {
	case <-c.closed:
		return net.ErrClosed
	case <-passed:
		return os.ErrDeadlineExceeded
	case turn <- struct{}{}:
		return nil
	}
}

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (int, error) {
	if err := c.lock(c.reads, &c.readBy); err != nil {
		return 0, err
	}
	defer func() { <-c.reads }()
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.rest.Bytes) == 0 {
		part, _, err := c.x.Read(flow.Limits{Deadline: c.readBy.Channel()})
		if err != nil {
			return 0, c.failure(err)
		}
		c.rest = part
	}
	n := copy(p, c.rest.Bytes)
	c.rest = c.rest.Cut(n)
	c.x.Consumed(n)
	return n, nil
}

func (c *conn) failure(err error) error {
	if flow.IsClosed(c.closed) {
		return net.ErrClosed
	}
	return err
}

// Write implements [net.Conn].
func (c *conn) Write(p []byte) (int, error) {
	if err := c.lock(c.writes, &c.writeBy); err != nil {
		return 0, err
	}
	defer func() { <-c.writes }()
	switch {
	case c.foreign != nil:
		return c.foreign.Write(p)
	case c.raw:
		return c.send(p)
	}
	c.head = append(c.head, p...)
	if err := c.answer(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// send sends bytes of the other protocol.
func (c *conn) send(p []byte) (n int, err error) {
	buf := c.x.Chunk()
	defer flow.Release(buf)
	for n < len(p) {
		some := copy(buf[flow.Room:], p[n:])
		sent, err := c.x.Write(buf[:flow.Room+some], false, flow.Limits{Deadline: c.writeBy.Channel()})
		if n += sent; err != nil {
			return n, c.failure(err)
		}
	}
	return n, nil
}

// answer reads the response from what the handler wrote, as soon as its head is whole.
func (c *conn) answer() error {
	end := bytes.Index(c.head, []byte("\r\n\r\n"))
	if end < 0 {
		if len(c.head) > maxHead {
			return errHead
		}
		return nil
	}
	rest := c.head[end+4:]
	asked := &http.Request{Method: c.x.req.Method}
	rsp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(c.head[:end+4])), asked) //nolint:bodyclose // it is bytes in memory, and read by pass
	switch {
	case err != nil:
		c.head = nil
		c.x.abort(frame.NewReset(frame.CodeAborted, "answered what is not HTTP"), err)
		return err
	case rsp.StatusCode == http.StatusSwitchingProtocols:
		c.head = nil
		if err := c.upgrade(rsp.StatusCode, frame.FieldsOf(rsp.Header)); err != nil {
			return err
		}
		_, err := c.send(rest)
		return err
	case rsp.StatusCode < 200:
		c.x.Send(flow.Control, &frame.Info{Status: rsp.StatusCode, Fields: frame.FieldsOf(rsp.Header)})
		c.head = append([]byte(nil), rest...)
		return c.answer()
	}
	return c.pass()
}

// pass gives what is not an upgrade to a goroutine that reads it as a response. It ends when the connection is closed.
func (c *conn) pass() error {
	from, to := io.Pipe()
	written := c.head
	c.head, c.foreign = nil, to
	c.ended.Go(func() {
		from.CloseWithError(c.copyResponse(from))
	})
	_, err := to.Write(written)
	return err
}

// copyResponse sends a response that was written by hand. It is as whole as it says to be.
func (c *conn) copyResponse(from io.Reader) error {
	rsp, err := http.ReadResponse(bufio.NewReader(from), &http.Request{Method: c.x.req.Method}) //nolint:bodyclose // what it reads from is closed
	if err != nil {
		c.x.abort(frame.NewReset(frame.CodeAborted, "answered what is not HTTP"), err)
		return err
	}
	w := newWriter(c.x, c.x.req.Method)
	w.header, w.sniffed = rsp.Header, true
	if rsp.ContentLength >= 0 {
		w.header["Content-Length"] = []string{strconv.FormatInt(rsp.ContentLength, 10)}
	}
	w.writeHeader(rsp.StatusCode)
	for err == nil {
		err = c.copyPart(&w, rsp)
	}
	for name, values := range rsp.Trailer {
		w.header[http.TrailerPrefix+name] = values
	}
	failed := frame.NewReset(frame.CodeAborted, "broke its answer off")
	if errors.Is(err, io.EOF) {
		failed = w.complete()
	}
	if failed != nil {
		c.x.abort(failed, net.ErrClosed)
	}
	_, _ = io.Copy(io.Discard, from) // Until it is closed; what is behind the response is nobody's.
	return io.ErrClosedPipe
}

func (c *conn) copyPart(w *writer, rsp *http.Response) error {
	buf := c.x.Chunk()
	defer flow.Release(buf)
	n, err := rsp.Body.Read(buf[flow.Room:])
	if _, failed := w.Write(buf[flow.Room : flow.Room+n]); failed != nil {
		return failed
	}
	if failed := w.FlushError(); failed != nil {
		return failed
	}
	return err
}

// CloseWrite ends what is written; reading goes on.
func (c *conn) CloseWrite() error {
	if err := c.lock(c.writes, &flow.Deadline{}); err != nil {
		return err
	}
	defer func() { <-c.writes }()
	return c.shut()
}

// shut ends the stream in this direction: whole, if there was an answer.
func (c *conn) shut() (err error) {
	c.half.Do(func() {
		switch {
		case c.foreign != nil:
			err = c.foreign.Close()
			c.ended.Wait()
		case c.raw:
			err = c.x.Finish(nil)
		default:
			c.x.abort(frame.NewReset(frame.CodeAborted, "closed the connection"), net.ErrClosed)
		}
	})
	return err
}

// Close implements [net.Conn]. What was written still arrives.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		close(c.closed)
		select {
		case c.writes <- struct{}{}:
		default: // Somebody writes: it fails now, and what it wrote is cut.
			c.x.Fail(net.ErrClosed)
			c.writes <- struct{}{}
		}
		err = c.shut()
		if c.raw {
			_ = c.x.Post(flow.Bulk, frame.Append(nil, frame.NewReset(frame.CodeCancelled, "closed the connection"))) // Behind the end: not of what was sent.
		}
		c.x.cancel(net.ErrClosed)
		c.x.leave()
	})
	return err
}

// LocalAddr implements [net.Conn].
func (c *conn) LocalAddr() net.Addr { return addr("modulebus") }

// RemoteAddr implements [net.Conn]. It is the client's.
func (c *conn) RemoteAddr() net.Addr {
	if a, err := net.ResolveTCPAddr("tcp", c.x.req.RemoteAddr); err == nil && c.x.req.RemoteAddr != "" {
		return a
	}
	return addr(c.x.req.RemoteAddr)
}

// SetDeadline implements [net.Conn].
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (c *conn) SetReadDeadline(t time.Time) error { return c.move(&c.readBy, t) }

// SetWriteDeadline implements [net.Conn].
func (c *conn) SetWriteDeadline(t time.Time) error { return c.move(&c.writeBy, t) }

func (c *conn) move(d *flow.Deadline, t time.Time) error {
	if flow.IsClosed(c.closed) {
		return net.ErrClosed
	}
	d.Set(t)
	return nil
}

type addr string

func (addr) Network() string  { return "modulebus" }
func (a addr) String() string { return string(a) }
