package tunnel

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// upload sends the body of a request to the worker, from when the worker wants it. It is a goroutine of its own, which
// the request waits for.
type upload struct {
	touched atomic.Bool   // something of the body may have been read
	ended   chan struct{} // closed when nothing more is sent
	err     error         // before ended is closed
	whole   bool          // as err: the body was read to its end
}

func (u *upload) done() bool { return isClosed(u.ended) }

// startUpload lets the body flow as soon as there is credit. The body is not touched before, since a client that expects
// 100 Continue gets it when its body is read.
func (q *request) startUpload(s *call) {
	if q.r.ProtoMajor == 1 {
		_ = http.NewResponseController(q.w).EnableFullDuplex() // Where it is not known, it is not needed.
	}
	u := &upload{ended: make(chan struct{})}
	q.upload = u
	go func() {
		defer close(u.ended)
		if s.wanted(limits{ctx: q.ctx}, &u.touched) {
			u.err = q.sendBody(s, u)
		}
	}()
}

// wanted waits for the first credit. It reports whether there is some, and says so before the stream can fail.
func (s *stream) wanted(l limits, touched *atomic.Bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && s.credit == 0 {
		if s.wait(l) != nil {
			return false
		}
	}
	touched.Store(s.err == nil)
	return s.err == nil
}

func (q *request) sendBody(s *call, u *upload) error {
	body := io.Reader(q.r.Body)
	if most := q.g.opts.BodyLimit; most > 0 {
		body = http.MaxBytesReader(nil, q.r.Body, most)
	}
	buf := chunks.Get().(*[maxDataHead + chunk]byte)
	defer chunks.Put(buf)
	for {
		n, err := body.Read(buf[maxDataHead:])
		u.whole = errors.Is(err, io.EOF)
		last := u.whole && len(q.r.Trailer) == 0
		if _, lost := s.write(buf[:maxDataHead+n], last, limits{ctx: q.ctx}); lost != nil {
			return nil // The stream knows why.
		}
		s.progress.Store(time.Now().UnixNano())
		switch {
		case u.whole:
			return s.finish(endToEnd(fieldsOf(q.r.Trailer)))
		case err != nil:
			return q.breakOff(s, err)
		}
	}
}

// breakOff lets the handler see that the body is cut, and whoever waits for the response, why.
func (q *request) breakOff(s *call, err error) error {
	err = q.broken(err)
	if s.fail(err) {
		s.reset(CodeBody)
	}
	return err
}

// uploadError prefers what is wrong with the body to what followed from it.
func (q *request) uploadError(err error) error {
	if q.upload != nil && q.upload.done() && q.upload.err != nil {
		return q.upload.err
	}
	return err
}

// stopUpload ends the upload, if it has not ended, and waits for it: a body must not be read when its handler is gone.
func (q *request) stopUpload(s *call) {
	if q.upload == nil || q.upload.done() {
		return
	}
	s.fail(errors.New("tunnel: the response is whole"))
	if !q.upload.touched.Load() {
		<-q.upload.ended
		return
	}
	if err := http.NewResponseController(q.w).SetReadDeadline(time.Unix(1, 0)); err != nil {
		_ = q.r.Body.Close() // It is not net/http's, whose Close would wait for the read.
	}
	<-q.upload.ended
}

// settleUpload is called before the head of a response is written. A connection on which the rest of a request is not
// going to be read cannot serve another: what is left of this one would be taken for the next.
func (q *request) settleUpload() {
	if q.upload == nil || q.upload.done() && q.upload.whole || q.r.ProtoMajor != 1 {
		return
	}
	one := [1]byte{}
	limit := http.MaxBytesReader(q.w, io.NopCloser(endless{}), 0)
	_, _ = limit.Read(one[:]) // Over the limit: the server closes the connection, when the client has seen the response.
	q.w.Header().Set("Connection", "close")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
