package tunnel

import (
	"errors"
	"net/http"
	"time"
)

const (
	maxRetries = 2
	absentWait = 50 * time.Millisecond // a worker that just joined may not be known everywhere yet
)

// mayRetry reports whether another worker may be asked. Where no handler has begun, anything may be asked again; else
// only what does no harm when it is done twice, and only as long as nothing of a response was seen. A body that was
// read is gone, unless it went with the head.
func (q *request) mayRetry(err error) bool {
	if q.report.Retries >= maxRetries || q.upload != nil && q.upload.touched.Load() || q.out.informed || q.ctx.Err() != nil {
		return false
	}
	if errors.Is(err, ErrAbsent) {
		return q.report.Retries == 0
	}
	if untouched(err) {
		return true
	}
	var f *failure
	lost := errors.Is(err, ErrLost) || errors.As(err, &f) && (f.outcome == AcceptTimeout || f.outcome == WorkerLost)
	return lost && q.report.Retries == 0 && !q.head.More && idempotent(q.r)
}

// idempotent is what RFC 9110, section 9.2.2 says, or the client.
func idempotent(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return r.Header.Get("Idempotency-Key") != ""
}

// pause waits before the next attempt, where that helps. It reports whether the client is still there.
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
