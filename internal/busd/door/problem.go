package door

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
)

type matrixError = matrix.Error

// Problem is why an ask has no decision: a Matrix error and, if a module failed, which one and how.
type Problem struct {
	matrixError
	Module, Failure string
	DecisionID      string // of the record of the ask; empty where it has none
}

// NewProblem returns a problem that no module caused.
func NewProblem(status int, errcode, text string) *Problem {
	return &Problem{matrixError: matrixError{Status: status, Errcode: errcode, Text: text}}
}

// problemOf makes a problem of an error of [bus.Client.Ask].
func problemOf(err error) *Problem {
	if f, ok := errors.AsType[*bus.Error](err); ok {
		p := NewProblem(http.StatusBadGateway, matrix.Unknown, f.Error())
		p.Module, p.Failure = f.Module, wire.KindName(f.Kind)
		return p
	}
	return NewProblem(http.StatusServiceUnavailable, matrix.Unknown, err.Error())
}

// Header is the header of an answer over NATS.
func (p *Problem) Header() nats.Header { return wire.MatrixErrorHeader(&p.matrixError) }

// Body is the Matrix error as a JSON object, with the module and its failure, if known.
func (p *Problem) Body() []byte {
	e := p.Complete()
	data, _ := json.Marshal(struct { // It is made of strings.
		Errcode    string `json:"errcode"`
		Error      string `json:"error"`
		Module     string `json:"module,omitempty"`
		Failure    string `json:"failure,omitempty"`
		DecisionID string `json:"decision_id,omitempty"`
	}{e.Errcode, e.Text, p.Module, p.Failure, p.DecisionID})
	return data
}

// retryAfter tells clients when to try again if busd is starting, busy or draining, in seconds.
const retryAfter = "1"

// WriteTo answers an HTTP request with the problem.
func (p *Problem) WriteTo(w http.ResponseWriter) {
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	Write(w, p.Status, wire.JSONType, p.Body())
}
