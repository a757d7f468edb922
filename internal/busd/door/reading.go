package door

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/modulebus/modulebus/matrix"
)

const (
	// BodyTime is how long a caller may take to send its question. Beyond: answered 408.
	BodyTime = 30 * time.Second

	// drainBodyTime is how much longer a caller may take to send its question when busd begins to drain. Beyond: answered
	// 408.
	drainBodyTime = 2 * time.Second
)

// LimitReading sets a deadline for reading the request's body, which is earlier if busd drains. It lasts until the next
// request on the connection.
func (l *Life) LimitReading(w http.ResponseWriter, most time.Duration) (stop func() bool) {
	control := http.NewResponseController(w)
	by := func(most time.Duration) { _ = control.SetReadDeadline(time.Now().Add(most)) } // If it cannot be set, the server's own limits apply.
	by(most)
	return context.AfterFunc(l.draining, func() { by(drainBodyTime) })
}

// Cut returns the problem of a body that was not read to its end; nil if there was no error.
func Cut(err error, most time.Duration) *Problem {
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return NewProblem(http.StatusRequestEntityTooLarge, matrix.TooLarge, fmt.Sprintf(
			"the question is larger than %d bytes: have modules need less state of a room (see NeedState)", large.Limit))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return NewProblem(http.StatusRequestTimeout, matrix.Unknown, fmt.Sprintf("the body did not come within %v", most))
	}
	return NewProblem(http.StatusBadRequest, matrix.NotJSON, "the body is cut")
}
