package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/matrix"
)

// ErrorHeader is a field that the gateway sets to "tunnel" in every answer of its own, and that no answer of a module
// has.
const ErrorHeader = frame.ReservedPrefix + "Error"

// errGone is the error of a request whose client has left, so that it cannot be answered.
var errGone = fmt.Errorf("tunnel: client gone: %w", context.Canceled)

const (
	unknown    = matrix.Unknown
	tooLarge   = matrix.TooLarge
	retryAfter = 1 // seconds
)

// Outcome is the result of a request, for metrics.
type Outcome string

// The outcomes there are.
const (
	OK              Outcome = "ok"
	ClientGone      Outcome = "client_gone"      // the client left
	ClientStalled   Outcome = "client_stalled"   // the client accepted nothing for too long
	BadRequest      Outcome = "bad_request"      // what the gateway refused itself: 400, 413, 431
	NoResponders    Outcome = "no_responders"    // there is no worker
	Refused         Outcome = "refused"          // the workers have too much to do, or the gateway has
	AcceptTimeout   Outcome = "accept_timeout"   // no worker took the request
	ResponseTimeout Outcome = "response_timeout" // the response did not begin
	IdleTimeout     Outcome = "idle_timeout"     // the response paused for too long
	TotalTimeout    Outcome = "total_timeout"    // the request took too long
	WorkerLost      Outcome = "worker_lost"      // the worker, or the way to it, was lost
	LostFrames      Outcome = "lost_frames"      // a frame was lost, doubled, or sent without credit
	WorkerFailed    Outcome = "worker_failed"    // the handler panicked or broke its response off
	BadResponse     Outcome = "bad_response"     // what came cannot be passed on
)

// failure is an answer of the gateway itself, for a request without a response.
type failure struct {
	outcome Outcome
	status  int
	errcode string
	text    string // for the client
	retry   bool   // asking again is safe, and may help
	cause   error  // for the operator
}

func (f *failure) Error() string {
	if f.cause == nil {
		return "tunnel: " + f.text
	}
	return fmt.Sprintf("tunnel: %s: %v", f.text, f.cause)
}

func (f *failure) Unwrap() error { return f.cause }

// writeTo answers with the failure, in the form of Matrix errors.
func (f *failure) writeTo(w http.ResponseWriter, text string) {
	e := matrix.Error{Status: f.status, Errcode: f.errcode, Text: text}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set(ErrorHeader, "tunnel")
	if f.retry {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(e.Body())
}

// failureOf returns the answer for an error.
func failureOf(err error) *failure {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, ErrAbsent):
		return &failure{NoResponders, http.StatusServiceUnavailable, unknown, "is not running", true, err}
	case errors.Is(err, flow.ErrLost):
		return &failure{WorkerLost, http.StatusBadGateway, unknown, "was lost before it answered", false, err}
	}
	return &failure{WorkerLost, http.StatusBadGateway, unknown, "could not be reached", false, err}
}

func timedOut(o Outcome, text string) *failure {
	return &failure{o, http.StatusGatewayTimeout, unknown, text, false, nil}
}

func lostFrames(c frame.Code) *failure {
	return &failure{LostFrames, http.StatusBadGateway, unknown, "was lost before it answered", false, fmt.Errorf("reset: %v", c)}
}

func tooBusy() *failure {
	return &failure{Refused, http.StatusServiceUnavailable, unknown, "is behind a gateway with too many requests under way", true, nil}
}

// resetFailure returns the answer for a reset. It has the worker's status if that is a 5xx.
func resetFailure(r *frame.Reset) *failure {
	status := http.StatusBadGateway
	if r.Status >= 500 && r.Status <= 599 {
		status = r.Status
	}
	return &failure{outcomeOf(r), status, unknown, r.Text, r.Retryable, fmt.Errorf("reset: %v", r.Code)}
}

func outcomeOf(r *frame.Reset) Outcome {
	switch r.Code {
	case frame.CodeRefused:
		return Refused
	case frame.CodeLost, frame.CodeFlow:
		return LostFrames
	case frame.CodeGoingAway:
		return WorkerLost
	case frame.CodeMalformed, frame.CodeTooLarge:
		return BadResponse
	}
	return WorkerFailed
}

func badReply(cause error) *failure {
	return &failure{BadResponse, http.StatusBadGateway, unknown, "gave an answer that cannot be passed on", false, cause}
}

func bodyTooLarge(limit int64) *failure {
	text := fmt.Sprintf("takes requests of at most %d bytes", limit)
	return &failure{BadRequest, http.StatusRequestEntityTooLarge, tooLarge, text, false, nil}
}

func brokenBody(err error) *failure {
	return &failure{BadRequest, http.StatusBadRequest, unknown, "did not get the whole request: its body broke off", false, err}
}

func headTooLarge(limit int) *failure {
	text := fmt.Sprintf("takes at most %d bytes of header in at most %d fields", limit, frame.MaxFields)
	return &failure{BadRequest, http.StatusRequestHeaderFieldsTooLarge, tooLarge, text, false, nil}
}
