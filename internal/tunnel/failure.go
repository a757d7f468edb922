package tunnel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// ErrorHeader is set to "tunnel" on every answer that the gateway made itself, and on no answer of a module.
const ErrorHeader = ReservedPrefix + "Error"

// What a [Carrier] reports. Clients see 503 and 502; any other error is a 502 too.
var (
	// ErrAbsent says that nobody was there to take the frame. Nothing was delivered, so asking again is safe.
	ErrAbsent = errors.New("tunnel: no worker")

	// ErrLost says that the frame was sent and no answer will come. The handler may have run.
	ErrLost = errors.New("tunnel: answer lost")
)

// errGone says that the client left: there is nobody to answer.
var errGone = fmt.Errorf("tunnel: client gone: %w", context.Canceled)

const (
	unknown      = "M_UNKNOWN"
	unrecognized = "M_UNRECOGNIZED"
	tooLarge     = "M_TOO_LARGE"
	retryAfter   = 1 // seconds
)

// failure is an answer of the gateway's own.
type failure struct {
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
	body, _ := json.Marshal(struct {
		Errcode string `json:"errcode"`
		Error   string `json:"error"`
	}{f.errcode, text})
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set(ErrorHeader, "tunnel")
	if f.retry {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(body)
}

// exchangeFailure says what an error of [Carrier.Exchange] means to the client. The client's own context is looked at
// first: whoever has left needs no answer, whatever else went wrong.
func exchangeFailure(client, exchange context.Context, err error) error {
	switch {
	case errors.Is(client.Err(), context.Canceled):
		return errGone
	case errors.Is(err, ErrAbsent):
		return &failure{http.StatusServiceUnavailable, unknown, "is not running", true, err}
	case exchange.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		return &failure{http.StatusGatewayTimeout, unknown, "did not answer in time", false, err}
	case errors.Is(err, ErrLost):
		return &failure{http.StatusBadGateway, unknown, "was lost before it answered", false, err}
	}
	return &failure{http.StatusBadGateway, unknown, "could not be reached", false, err}
}

// resetFailure takes the worker's word for the status, as far as it blames nobody but the server's side.
func resetFailure(r *Reset) error {
	status := http.StatusBadGateway
	if r.Status >= 500 && r.Status <= 599 {
		status = r.Status
	}
	return &failure{status, unknown, r.Text, r.Retryable, fmt.Errorf("reset: %v", r.Code)}
}

func badReply(cause error) error {
	return &failure{http.StatusBadGateway, unknown, "gave an answer that cannot be passed on", false, cause}
}

func bodyTooLarge(limit int) error {
	text := fmt.Sprintf("takes requests of at most %d bytes", limit)
	return &failure{status: http.StatusRequestEntityTooLarge, errcode: tooLarge, text: text}
}

func headTooLarge(limit int) error {
	text := fmt.Sprintf("takes at most %d bytes of header in at most %d fields", limit, MaxFields)
	return &failure{status: http.StatusRequestHeaderFieldsTooLarge, errcode: tooLarge, text: text}
}
