package door

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/wire"
)

const (
	unknown      = "M_UNKNOWN"
	unrecognized = "M_UNRECOGNIZED"
	notJSON      = "M_NOT_JSON"
	badJSON      = "M_BAD_JSON"
	invalidParam = "M_INVALID_PARAM"
	tooLarge     = "M_TOO_LARGE"
)

// Problem is why an ask got no decision: a Matrix error, and which module failed how, if one did.
type Problem struct {
	Errcode string `json:"errcode"`
	Text    string `json:"error"`
	Module  string `json:"module,omitempty"`
	Failure string `json:"failure,omitempty"`

	status int // of HTTP, and the code of a NATS service error
}

func newProblem(status int, errcode, text string) *Problem {
	return &Problem{Errcode: errcode, Text: text, status: status}
}

// problemOf says what an error of [bus.Client.Ask] means to who asked.
func problemOf(err error) *Problem {
	if f, ok := errors.AsType[*bus.Error](err); ok {
		return &Problem{unknown, f.Error(), f.Module, wire.KindName(f.Kind), http.StatusBadGateway}
	}
	return newProblem(http.StatusServiceUnavailable, unknown, err.Error())
}

// body returns the problem as Matrix error JSON.
func (p *Problem) body() []byte {
	body, _ := json.Marshal(p) // It is made of strings.
	return body
}

// header reports the problem as a NATS service error, whose code is the HTTP status.
func (p *Problem) header() nats.Header {
	return nats.Header{
		wire.HeaderError:       {wire.OneLine(p.Text)},
		wire.HeaderErrorCode:   {strconv.Itoa(p.status)},
		wire.HeaderContentType: {wire.JSONType},
	}
}

// writeTo answers an HTTP request with the problem.
func (p *Problem) writeTo(w http.ResponseWriter) {
	write(w, p.status, wire.JSONType, p.body())
}
