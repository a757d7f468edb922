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

const (
	unknown      = matrix.Unknown
	unrecognized = matrix.Unrecognized
	notJSON      = matrix.NotJSON
	badJSON      = matrix.BadJSON
	invalidParam = matrix.InvalidParam
	tooLarge     = matrix.TooLarge
)

type matrixError = matrix.Error

// Problem is why an ask got no decision: a Matrix error, and which module failed how, if one did.
type Problem struct {
	matrixError
	Module, Failure string
	DecisionID      string // of the record of the ask; empty where it has none
}

func newProblem(status int, errcode, text string) *Problem {
	return &Problem{matrixError: matrixError{Status: status, Errcode: errcode, Text: text}}
}

// problemOf says what an error of [bus.Client.Ask] means to the homeserver that asked.
func problemOf(err error) *Problem {
	if f, ok := errors.AsType[*bus.Error](err); ok {
		p := newProblem(http.StatusBadGateway, unknown, f.Error())
		p.Module, p.Failure = f.Module, wire.KindName(f.Kind)
		return p
	}
	return newProblem(http.StatusServiceUnavailable, unknown, err.Error())
}

func (p *Problem) header() nats.Header { return wire.MatrixErrorHeader(&p.matrixError) }

// body is a JSON object: that of the Matrix error, and what else is known.
func (p *Problem) body() []byte {
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

// retryAfter is what clients are told that find busd starting, busy or draining, in seconds.
const retryAfter = "1"

// writeTo answers an HTTP request with the problem.
func (p *Problem) writeTo(w http.ResponseWriter) {
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	write(w, p.Status, wire.JSONType, p.body())
}
