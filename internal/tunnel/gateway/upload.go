package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// upload sends the body of a request to the worker as soon as the worker gives credit. It has its own goroutine, for
// which the request waits.
type upload struct {
	q       *request
	s       *call
	ctx     context.Context //nolint:containedctx // the request's, when the upload began
	touched atomic.Bool     // a part of the body may have been read
	read    chan struct{}   // closed when nothing more is read of the body
	whole   bool            // set before read is closed: the body was read to its end
	ended   chan struct{}   // closed when nothing more is sent
	err     error           // set before ended is closed
}

// startUpload begins to send the body as soon as there is credit. It does not read the body before that, because
// reading it sends 100 Continue to a client that expects it.
func startUpload(q *request, s *call) *upload {
	if q.r.ProtoMajor == 1 {
		_ = http.NewResponseController(q.w).EnableFullDuplex() // A writer that does not support it does not need it.
	}
	u := &upload{q: q, s: s, ctx: q.ctx, read: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(u.ended)
		if s.AwaitCredit(flow.Limits{Ctx: u.ctx}, &u.touched) {
			u.err = u.send()
		}
		if !u.whole {
			close(u.read)
		}
	}()
	return u
}

func (u *upload) send() error {
	body := io.Reader(u.q.r.Body)
	if most := u.q.g.opts.BodyLimit; most > 0 {
		body = http.MaxBytesReader(nil, u.q.r.Body, most)
	}
	buf := u.s.Chunk()
	defer flow.Release(buf)
	for {
		n, err := body.Read(buf[flow.Room:])
		limits := flow.Limits{Ctx: u.ctx}
		if u.whole = errors.Is(err, io.EOF); u.whole {
			close(u.read)
			limits.Ctx = nil // A client that has sent all may close its side; stop ends the wait.
		}
		last := u.whole && len(u.q.r.Trailer) == 0
		if _, lost := u.s.Write(buf[:flow.Room+n], last, limits); lost != nil {
			return nil // The stream has the error.
		}
		u.s.progress.Store(time.Now().UnixNano())
		switch {
		case u.whole:
			return u.s.Finish(frame.EndToEnd(frame.FieldsOf(u.q.r.Trailer)))
		case err != nil:
			return u.fail(err)
		}
	}
}

// fail makes the handler see that the body is truncated, and the request see why.
func (u *upload) fail(err error) error {
	err = bodyError(u.q.r, err)
	if u.s.Fail(err) {
		u.s.resetBehind(frame.CodeBody)
	}
	return err
}

// finished reports whether the whole body was read, or there is none.
func (u *upload) finished() bool { return u == nil || flow.IsClosed(u.read) && u.whole }

// allRead is finished for an HTTP/1 client of which net/http's server says that it has left. That looks for it at the end of the
// body, and so may say it before the upload has seen that end.
func (u *upload) allRead() bool {
	if u != nil {
		u.interrupt()
		<-u.read
	}
	return u.finished()
}

// interrupt ends a read that waits for the client.
func (u *upload) interrupt() {
	if !u.touched.Load() || flow.IsClosed(u.read) {
		return
	}
	if err := http.NewResponseController(u.q.w).SetReadDeadline(time.Unix(1, 0)); err != nil {
		_ = u.q.r.Body.Close() // It is not net/http's body, whose Close would wait for the read.
	}
}

// started reports whether a part of the body may have been read.
func (u *upload) started() bool { return u != nil && u.touched.Load() }

func (u *upload) done() bool { return flow.IsClosed(u.ended) }

// cause returns the error of the body, if there is one, rather than an error that follows from it.
func (u *upload) cause(err error) error {
	if u != nil && u.done() && u.err != nil {
		return u.err
	}
	return err
}

// stop ends the upload, and waits for its end: a body must not be read after its handler has returned.
func (u *upload) stop() {
	if u == nil || u.done() {
		return
	}
	u.s.Fail(errors.New("tunnel: the response is whole"))
	u.interrupt()
	<-u.ended
}

// settle is called before the head of a response is written. If the rest of the request will not be read, the
// connection must be closed after the response: otherwise the rest would be read as the next request.
func (u *upload) settle() {
	if u.finished() || u.q.r.ProtoMajor != 1 {
		return
	}
	one := [1]byte{}
	limit := http.MaxBytesReader(u.q.w, io.NopCloser(endless{}), 0)
	_, _ = limit.Read(one[:]) // Over the limit: the server closes the connection, when the client has seen the response.
	u.q.w.Header().Set("Connection", "close")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
