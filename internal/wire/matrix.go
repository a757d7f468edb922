package wire

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/nats-io/nats.go"
)

// MatrixError is an error of the Module API: what Synapse raises as a SynapseError.
type MatrixError struct {
	// Status is the HTTP status. 0 means 500.
	Status int

	// Errcode is the Matrix error code. Empty means M_UNKNOWN.
	Errcode string

	// Text is for people.
	Text string
}

// Error implements error.
func (e *MatrixError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Errcode, e.Text) }

// matrixJSON is the body of a Matrix error.
type matrixJSON struct {
	Errcode string `json:"errcode"`
	Error   string `json:"error"`
	Module  string `json:"module,omitempty"`
	Failure string `json:"failure,omitempty"`
}

// complete fills in what is left out.
func (e MatrixError) complete() MatrixError {
	if e.Status == 0 {
		e.Status = http.StatusInternalServerError
	}
	if e.Errcode == "" {
		e.Errcode = "M_UNKNOWN"
	}
	return e
}

// Body returns the error as Matrix has it in a response: a JSON object.
func (e *MatrixError) Body() []byte { return e.BodyOf("", "") }

// BodyOf is Body that also names the module whose failure this is, and the kind of failure, unless they are empty.
func (e *MatrixError) BodyOf(module, failure string) []byte {
	c := e.complete()
	body, _ := json.Marshal(matrixJSON{c.Errcode, c.Text, module, failure}) // It is made of strings.
	return body
}

// Header returns the headers of a reply that reports the error: a NATS service error with the status as its code.
func (e *MatrixError) Header() nats.Header {
	c := e.complete()
	return nats.Header{
		HeaderError:       {OneLine(c.Text)},
		HeaderErrorCode:   {strconv.Itoa(c.Status)},
		HeaderContentType: {JSONType},
	}
}

// Message returns the message that reports the error.
func (e *MatrixError) Message(subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: e.Header(), Data: e.Body()}
}

// MatrixErrorOf returns the error that a message reports, or nil.
func MatrixErrorOf(m *nats.Msg) *MatrixError {
	if Header(m, HeaderErrorCode) == "" {
		return nil
	}
	status, _ := strconv.Atoi(Header(m, HeaderErrorCode)) // What is no number is a 500.
	e := ParseMatrixError(status, m.Data)
	if e.Text == "" {
		e.Text = Header(m, HeaderError)
	}
	return e
}

// ParseMatrixError reads the body of an HTTP response that reports an error. What is no Matrix error is M_UNKNOWN.
func ParseMatrixError(status int, body []byte) *MatrixError {
	var j matrixJSON
	if json.Unmarshal(body, &j) != nil {
		j = matrixJSON{}
	}
	e := MatrixError{status, j.Errcode, j.Error}.complete()
	return &e
}
