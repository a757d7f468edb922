package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// upgrade is the name of the field for the protocol to switch to, and the value of Connection.
const upgrade = "Upgrade"

// checkUpgrade refuses a protocol that the client did not ask for. Of several, the module may choose.
func checkUpgrade(asked *http.Request, r *frame.Response) error {
	want := listed([]string{upgrades(asked)})
	unasked := func(got string) bool {
		return !slices.ContainsFunc(want, func(p string) bool { return strings.EqualFold(p, got) })
	}
	got := listed([]string{protocol(r)})
	if r.Status != http.StatusSwitchingProtocols || len(got) == 0 || slices.ContainsFunc(got, unasked) {
		return badReply(fmt.Errorf("status %d switches to %q where %q was asked for", r.Status, got, want))
	}
	return nil
}

// protocol returns the protocol that the response switches to.
func protocol(r *frame.Response) (name string) {
	for _, f := range r.Fields {
		if f.Name == upgrade {
			name = f.Value
		}
	}
	return name
}

// switchProtocols carries the other protocol until both sides have ended, or one has failed.
func switchProtocols(q *request, s *call, rsp *frame.Response) error {
	conn, rw, err := http.NewResponseController(q.w).Hijack()
	if err != nil {
		return badReply(fmt.Errorf("cannot take the connection over: %w", err))
	}
	defer conn.Close()
	q.out.began = true
	q.report.Status, q.report.Outcome = rsp.Status, OK
	p := &pipe{s: s, conn: conn, stall: q.g.opts.StallTimeout, up: make(chan struct{})}
	if err := p.open(rw.Writer, rsp); err != nil {
		s.reset(frame.CodeCancelled)
		return nil // The report says that the connection was upgraded; the client cannot be told more.
	}
	go p.send(rw.Reader)
	q.report.Err = p.receive()
	<-p.up
	return nil
}

// pipe is a connection that was taken over, and a stream.
type pipe struct {
	s     *call
	conn  net.Conn
	stall time.Duration
	up    chan struct{} // closed when nothing more comes from the client
}

// open writes the head of the response.
func (p *pipe) open(w *bufio.Writer, rsp *frame.Response) error {
	_ = p.conn.SetDeadline(time.Time{}) // The server may have set one for the request.
	name := protocol(rsp)
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n", rsp.Status, http.StatusText(rsp.Status))
	for _, f := range append(frame.EndToEnd(rsp.Fields), frame.Field{Name: "Connection", Value: upgrade}, frame.Field{Name: upgrade, Value: name}) {
		fmt.Fprintf(w, "%s: %s\r\n", f.Name, f.Value)
	}
	fmt.Fprint(w, "\r\n")
	return w.Flush()
}

// send passes on what the client sends. r begins with what the server has read already.
func (p *pipe) send(r *bufio.Reader) {
	defer close(p.up)
	for {
		_, err := r.Peek(1) // A silent client holds no buffer.
		switch {
		case errors.Is(err, io.EOF):
			_ = p.s.Finish(nil) // If it fails, receive ends the stream.
			return
		case err != nil:
			p.stop(errGone)
			return
		}
		if p.forward(r) != nil {
			return
		}
	}
}

func (p *pipe) forward(r *bufio.Reader) error {
	buf := p.s.Chunk()
	defer flow.Release(buf)
	n, err := r.Read(buf[flow.Room:])
	if err != nil {
		return err
	}
	_, err = p.s.Write(buf[:flow.Room+n], false, flow.Limits{})
	return err
}

// receive passes on what the worker sends. When it returns, nothing more passes in either direction, except what the
// client sends after the worker has ended its side properly.
func (p *pipe) receive() error {
	for {
		part, _, err := p.s.Read(flow.Limits{})
		if errors.Is(err, io.EOF) {
			return p.ended()
		}
		if err == nil {
			err = p.write(part.Bytes)
		}
		if err != nil {
			p.stop(err)
			closeWithReset(p.conn)
			return err
		}
		n := len(part.Bytes)
		part.Cut(n)
		p.s.Consumed(n)
	}
}

func (p *pipe) write(b []byte) error {
	if p.stall > 0 {
		_ = p.conn.SetWriteDeadline(time.Now().Add(p.stall)) // If it fails, so does the write.
	}
	_, err := p.conn.Write(b)
	return writeError(err)
}

// ended half-closes the client's connection, and waits until the client ends its side, or the worker accepts no more.
func (p *pipe) ended() error {
	if c, ok := p.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // If it fails, so does the read.
	}
	for {
		changed, failed := p.s.Watch()
		if failed {
			_ = p.conn.Close() // It ends the read.
			<-p.up
			return nil
		}
		select {
		case <-p.up:
			return nil
		case <-changed:
		}
	}
}

// stop ends the stream, and tells the worker.
func (p *pipe) stop(err error) {
	if p.s.Fail(err) {
		p.s.resetBehind(frame.CodeCancelled)
	}
}
