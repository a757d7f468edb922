package gateway

import (
	"errors"
	"net/http"
	"time"
)

const (
	maxRetries = 2                     // times that a request which no handler has seen goes to another worker. Beyond: answered 503.
	absentWait = 50 * time.Millisecond // a worker that just joined may not be known everywhere yet
)

// idempotent reports whether RFC 9110, section 9.2.2, or the client, says that the request is idempotent.
func idempotent(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return r.Header.Get("Idempotency-Key") != ""
}

// untouched reports whether no handler has begun, by the error.
func untouched(err error) bool {
	var f *failure
	return errors.Is(err, ErrAbsent) || errors.As(err, &f) && f.retry
}
