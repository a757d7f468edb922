package wire

import (
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/matrix"
)

// MatrixErrorHeader returns the headers of a reply that reports e: a NATS service error with the status as its code. The
// reply's payload is e.Body().
func MatrixErrorHeader(e *matrix.Error) nats.Header {
	c := e.Complete()
	return nats.Header{
		HeaderError:       {OneLine(c.Text)},
		HeaderErrorCode:   {strconv.Itoa(c.Status)},
		HeaderContentType: {JSONType},
	}
}

// MatrixErrorOf returns the error that a message reports, or nil.
func MatrixErrorOf(m *nats.Msg) *matrix.Error {
	if Header(m, HeaderErrorCode) == "" {
		return nil
	}
	status, _ := strconv.Atoi(Header(m, HeaderErrorCode)) // What is no number is a 500.
	e := matrix.ParseError(status, m.Data)
	if e.Text == "" {
		e.Text = Header(m, HeaderError)
	}
	return e
}
