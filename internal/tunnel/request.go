package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// request is one request of a client, from its head to the end of its response.
type request struct {
	g      *Gateway
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context //nolint:containedctx // ends when the client leaves, or the whole took too long
	began  time.Time
	head   *Request
	upload *upload // nil until the body is sent
	out    client
	report Report
}

// errTotal is the cause of the end of a context.
var errTotal = errors.New("tunnel: the request took too long")

func (q *request) serve() {
	ctx, cancel := q.r.Context(), context.CancelFunc(func() {})
	if q.g.opts.TotalTimeout > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, q.g.opts.TotalTimeout, errTotal)
	}
	defer cancel()
	q.ctx = ctx
	q.out = client{w: q.w, stall: q.g.opts.StallTimeout}
	if err := q.run(); err != nil {
		q.fail(err)
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
	defer q.stopUpload(s)
	if rsp.Upgrade {
		return q.translate(q.switchProtocols(s, rsp))
	}
	return q.translate(q.pass(s, rsp))
}

// fail answers with the failure if nothing was answered, and else breaks the connection.
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
	q.settleUpload()
	q.report.Status = f.status
	f.writeTo(q.w, fmt.Sprintf("module %s %s", q.report.To.Module, f.text))
}

// translate looks at the client first: whoever has left needs no answer, whatever else went wrong. It must be called
// before the upload is stopped, which net/http cannot tell from a client that left.
func (q *request) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(q.r.Context().Err(), context.Canceled):
		return errGone
	case errors.Is(err, errTotal) || q.ctx.Err() != nil:
		return timedOut(TotalTimeout, "took too long")
	}
	return err
}

// ask gets a response, from another worker if that is safe and the first one did not do.
func (q *request) ask() (*call, *Response, error) {
	for {
		s, err := q.g.newCall(q.report.To)
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
func (q *request) attempt(s *call) (*Response, error) {
	if err := q.send(s); err != nil {
		return nil, err
	}
	if q.head.More && !q.head.Upgrade {
		q.startUpload(s)
	}
	return q.await(s)
}

func (q *request) send(s *call) error {
	q.head.Credit = s.granted
	if deadline, ok := q.ctx.Deadline(); ok {
		q.head.Deadline = max(time.Until(deadline), time.Millisecond)
	}
	frame := compose(q.head)
	defer composed.Put(frame)
	if limit := q.g.carrier.MaxFrame(); len(*frame) > limit {
		return headTooLarge(limit)
	}
	s.progress.Store(time.Now().UnixNano())
	if err := q.g.carrier.Ask(q.report.To, s.token, *frame); err != nil {
		return errors.Join(ErrAbsent, err)
	}
	s.stats.FramesOut.Add(1)
	s.stats.BytesOut.Add(int64(len(*frame)))
	return nil
}

// await waits for the response, and meanwhile does what else is to be done.
func (q *request) await(s *call) (*Response, error) {
	timer := newTimer(q.g.opts.AcceptTimeout)
	defer timer.stop()
	met := false
	for {
		e, err := s.event(limits{ctx: q.ctx, timer: timer.c()}, met)
		switch {
		case errors.Is(err, errTimer):
			if err := q.late(s, met, timer); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, q.uploadError(err)
		case e.response != nil:
			return e.response, q.check(s, e.response)
		case e.info != nil:
			q.inform(e.info)
		}
		if !met && err == nil {
			met = true
			q.report.Accept = time.Since(q.began)
			timer.reset(q.g.opts.ResponseTimeout)
		}
	}
}

// late decides what it means that the time is up.
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

// check refuses what would put the client out of step with the server.
func (q *request) check(s *call, r *Response) error {
	q.report.FirstByte = time.Since(q.began)
	q.report.Accept = cmp.Or(q.report.Accept, q.report.FirstByte)
	q.report.Fast = s.fast()
	if r.Upgrade {
		return q.checkUpgrade(r)
	}
	return r.check(q.r.Method)
}

func (r *Response) check(method string) error {
	if r.Status < 200 {
		return badReply(fmt.Errorf("status %d", r.Status))
	}
	if r.More && len(r.Body) > 0 {
		return badReply(errors.New("part of a body with the head"))
	}
	if bodyless(method, r.Status) {
		if len(r.Body) > 0 {
			return badReply(fmt.Errorf("%d bytes of body to a %s with status %d", len(r.Body), method, r.Status))
		}
		return nil
	}
	if !r.More && r.ContentLength >= 0 && r.ContentLength != int64(len(r.Body)) {
		return badReply(fmt.Errorf("%d bytes of body, %d declared", len(r.Body), r.ContentLength))
	}
	return nil
}

// giveUp ends an attempt, and tells the worker if that is not what it said itself.
func (q *request) giveUp(s *call, err error) {
	if s.fail(err) {
		s.reset(CodeCancelled)
	}
	q.stopUpload(s)
	s.close()
}

// timer is a [time.Timer] that may never fire.
type timer struct{ t *time.Timer }

// timers are stopped.
var timers = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}}

func newTimer(d time.Duration) *timer {
	t := &timer{}
	t.reset(d)
	return t
}

func (t *timer) c() <-chan time.Time {
	if t.t == nil {
		return nil
	}
	return t.t.C
}

func (t *timer) reset(d time.Duration) {
	if d <= 0 {
		t.stop()
		return
	}
	if t.t == nil {
		t.t = timers.Get().(*time.Timer)
	}
	t.t.Reset(d)
}

func (t *timer) stop() {
	if t.t != nil {
		t.t.Stop() // And nothing is left in its channel.
		timers.Put(t.t)
		t.t = nil
	}
}
