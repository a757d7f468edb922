package matrix

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// The error codes of the Matrix specification that a module bus uses itself. A homeserver and its modules may use any.
const (
	Unknown       = "M_UNKNOWN"
	Unrecognized  = "M_UNRECOGNIZED"
	Forbidden     = "M_FORBIDDEN"
	LimitExceeded = "M_LIMIT_EXCEEDED"
	TooLarge      = "M_TOO_LARGE"
	NotJSON       = "M_NOT_JSON"
	BadJSON       = "M_BAD_JSON"
	InvalidParam  = "M_INVALID_PARAM"
)

// Error is an error of a Matrix API: what Synapse raises as a SynapseError.
type Error struct {
	// Status is the HTTP status. 0 means 500.
	Status int

	// Errcode is the Matrix error code. Empty means M_UNKNOWN.
	Errcode string

	// Text is for people.
	Text string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Errcode, e.Text) }

// Complete returns the error with the status and the code that an empty one stands for.
func (e Error) Complete() Error {
	if e.Status == 0 {
		e.Status = http.StatusInternalServerError
	}
	if e.Errcode == "" {
		e.Errcode = Unknown
	}
	return e
}

// body is an error as it stands in a response.
type body struct {
	Errcode string `json:"errcode"`
	Error   string `json:"error"`
}

// Body returns the body of a response that reports the error: a JSON object with errcode and error.
func (e *Error) Body() []byte {
	c := e.Complete()
	data, _ := json.Marshal(body{c.Errcode, c.Text}) // It is made of strings.
	return data
}

// ParseError reads the body of a response that reports an error. A body that is no Matrix error gives M_UNKNOWN and an
// empty text. It never returns nil.
func ParseError(status int, data []byte) *Error {
	var j body
	if json.Unmarshal(data, &j) != nil {
		j = body{}
	}
	e := Error{status, j.Errcode, j.Error}.Complete()
	return &e
}
