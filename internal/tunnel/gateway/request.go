package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// request is one request of a client, from its head to the end of its response.
type request struct {
	g      *Gateway
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context //nolint:containedctx // ends when the client leaves, or when TotalTimeout is over
	cancel context.CancelFunc
	began  time.Time
	head   *frame.Request
	upload *upload // nil until the body is sent
	left   bool    // the client has closed its side
	out    client
	report Report
}

// errTotal is the cause of the context's end when TotalTimeout is over.
var errTotal = errors.New("tunnel: the request took too long")

func (q *request) serve() {
	ctx, cancel := q.r.Context(), context.CancelFunc(func() {})
	if q.g.opts.TotalTimeout > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, q.g.opts.TotalTimeout, errTotal)
	}
	q.ctx, q.cancel = ctx, cancel
	defer func() { q.cancel() }()
	q.out = client{w: q.w, stall: q.g.opts.StallTimeout}
	if err := q.run(); err != nil {
		q.fail(err)
	} else if q.left {
		q.report.Outcome = ClientGone
	}
}

func (q *request) run() error {
	if err := q.read(); err != nil {
		return q.translate(err)
	}
	s, rsp, err := q.ask()
	if err != nil {
		return err
	}
	defer s.close()
	defer q.upload.stop()
	if rsp.Upgrade {
		return q.translate(switchProtocols(q, s, rsp))
	}
	return q.translate((&reply{q, s, rsp}).pass())
}

// fail answers with the failure if nothing was answered yet, and otherwise breaks the connection.
func (q *request) fail(err error) {
	q.report.Err = err
	f := failureOf(err)
	q.report.Outcome = f.outcome
	if errors.Is(err, errGone) {
		q.report.Outcome = ClientGone
	}
	if errors.Is(err, errGone) || q.out.began {
		q.out.abort(q.r)
	}
	q.upload.settle()
	q.report.Status = f.status
	f.writeTo(q.w, fmt.Sprintf("module %s %s", q.report.To.Module, f.text))
}

// translate returns the error to answer with. It looks at the client first: a client that has left needs no answer,
// whatever else went wrong. It must be called before the upload is stopped, which looks to net/http like a client that
// left.
func (q *request) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case q.left && errors.Is(context.Cause(q.ctx), errGone), !q.left && errors.Is(q.r.Context().Err(), context.Canceled):
		return errGone
	case errors.Is(err, errTotal) || q.ctx.Err() != nil:
		return timedOut(TotalTimeout, "took too long")
	}
	return err
}

// leaveTime is how long a response may take after the client has closed its side of the connection. The handler's
// context has ended then. Beyond it the request is given up.
const leaveTime = 30 * time.Second

// outlive reports whether to go on waiting for the response after an error. An HTTP/1 client that has sent its whole
// request and closed its side may have left, or may still read: net/http's server cannot tell, and serves it.
func (q *request) outlive(s *call, err error) bool {
	left := q.r.ProtoMajor == 1 && errors.Is(err, context.Canceled) && errors.Is(q.r.Context().Err(), context.Canceled)
	if q.left || !left || !q.upload.allRead() {
		return false
	}
	q.left = true
	end := time.Now().Add(leaveTime)
	cause := errGone
	if total, ok := q.ctx.Deadline(); ok && total.Before(end) {
		end, cause = total, errTotal
	}
	q.cancel()
	q.ctx, q.cancel = context.WithDeadlineCause(context.WithoutCancel(q.ctx), end, cause)
	s.clientLeft()
	return true
}

// read reads the head, and the body if it is small and certainly on its way. It reads nothing of the body, and so sends
// no 100 Continue, before everything else is checked.
func (q *request) read() error {
	limit := q.g.transport.MaxFrame()
	q.head = newHead(q.r, q.g.opts.TrustedProxies)
	if most := min(q.g.opts.HeaderLimit, limit/2); headSize(q.head) > most || len(q.head.Fields) > frame.MaxFields {
		return headTooLarge(most)
	}
	if most := q.g.opts.BodyLimit; most > 0 && q.r.ContentLength > most {
		return bodyTooLarge(most)
	}
	return q.readBody(limit)
}

func (q *request) readBody(limit int) error {
	length := q.r.ContentLength
	switch {
	case q.head.Upgrade:
		q.head.More = true
		return nil
	case length == 0:
		return nil
	case length < 0 || length > int64(flow.Inline(limit)) || q.r.Header.Get("Expect") != "":
		q.head.More = true
		q.head.Fields = append(q.head.Fields, announced(q.r.Trailer)...)
		return nil
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(q.r.Body, body); err != nil {
		return bodyError(q.r, err)
	}
	q.head.Body = body
	q.head.Trailers = frame.EndToEnd(frame.FieldsOf(q.r.Trailer)) // Complete only now; HTTP/2 has them with a length, too.
	return nil
}

// ask gets a response; if the first worker gives none, from another one, where that is safe.
func (q *request) ask() (*call, *frame.Response, error) {
	for {
		s, err := newCall(q.g, q.report.To, q.r.ProtoMajor == 1) // A write of HTTP/2 that failed may still be read from.
		if err != nil {
			return nil, nil, err
		}
		rsp, err := q.attempt(s)
		if err == nil {
			return s, rsp, nil
		}
		again, why := q.mayRetry(err), q.translate(err)
		q.giveUp(s, err)
		if !again {
			return nil, nil, why
		}
		if !q.pause(err) {
			return nil, nil, q.translate(err)
		}
		q.report.Retries++
	}
}

// attempt sends the request and waits for the head of the response.
func (q *request) attempt(s *call) (*frame.Response, error) {
	if err := q.send(s); err != nil {
		return nil, err
	}
	if q.head.More && !q.head.Upgrade {
		q.upload = startUpload(q, s)
	}
	return q.await(s)
}

func (q *request) send(s *call) error {
	q.head.Credit, _ = s.OpenCredit()
	if deadline, ok := q.ctx.Deadline(); ok {
		q.head.Deadline = max(time.Until(deadline), time.Millisecond)
	}
	raw := frame.Compose(q.head)
	defer frame.Recycle(raw)
	if limit := q.g.transport.MaxFrame(); len(*raw) > limit {
		return headTooLarge(limit)
	}
	s.progress.Store(time.Now().UnixNano())
	if err := q.g.transport.Ask(q.report.To, s.Token, *raw); err != nil {
		return errors.Join(ErrAbsent, err)
	}
	s.Stats.Sent(*raw)
	return nil
}

// await waits for the response, and handles other events meanwhile.
func (q *request) await(s *call) (*frame.Response, error) {
	timer := newTimer(q.g.opts.AcceptTimeout)
	defer timer.stop()
	met := false
	for {
		e, err := s.event(flow.Limits{Ctx: q.ctx, Timer: timer.c()}, met)
		switch {
		case q.outlive(s, err):
			continue
		case errors.Is(err, flow.ErrTimer):
			if err := q.late(s, met, timer); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, q.upload.cause(err)
		case e.response != nil:
			return e.response, q.check(s, e.response)
		case e.info != nil:
			q.out.inform(e.info)
		}
		if !met && err == nil {
			met = true
			q.report.Accept = time.Since(q.began)
			timer.reset(q.g.opts.ResponseTimeout)
		}
	}
}

// late returns the error for a timer that has fired.
func (q *request) late(s *call, met bool, timer *timer) error {
	if !met {
		return timedOut(AcceptTimeout, "did not answer in time")
	}
	left := q.g.opts.ResponseTimeout - time.Since(s.lastSent())
	if left <= 0 {
		return timedOut(ResponseTimeout, "did not answer in time")
	}
	timer.reset(left)
	return nil
}

// check notes the response, and refuses one that cannot be passed on.
func (q *request) check(s *call, r *frame.Response) error {
	q.report.FirstByte = time.Since(q.began)
	q.report.Accept = cmp.Or(q.report.Accept, q.report.FirstByte)
	q.report.Fast = s.fast()
	if r.Upgrade {
		return checkUpgrade(q.r, r)
	}
	return checkResponse(r, q.r.Method)
}

// giveUp ends an attempt, and tells the worker, unless the worker ended it.
func (q *request) giveUp(s *call, err error) {
	if s.Fail(err) {
		s.reset(frame.CodeCancelled)
	}
	q.upload.stop()
	s.close()
}

// mayRetry reports whether another worker may be asked. If no handler has begun, any request may be repeated; otherwise
// only a request that does no harm when it is done twice, and only while nothing of a response has arrived. A body that
// was read cannot be sent again, unless it was sent with the head.
func (q *request) mayRetry(err error) bool {
	if q.left || q.report.Retries >= maxRetries || q.upload.started() || q.out.informed || q.ctx.Err() != nil {
		return false
	}
	if errors.Is(err, ErrAbsent) {
		return q.report.Retries == 0
	}
	if untouched(err) {
		return true
	}
	var f *failure
	lost := errors.Is(err, flow.ErrLost) || errors.As(err, &f) && (f.outcome == AcceptTimeout || f.outcome == WorkerLost)
	return lost && q.report.Retries == 0 && !q.head.More && idempotent(q.r)
}

// pause waits before the next attempt, if that helps. It reports whether the client is still there.
func (q *request) pause(err error) bool {
	if !errors.Is(err, ErrAbsent) {
		return true
	}
	t := time.NewTimer(absentWait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-q.ctx.Done():
		return false
	}
}
