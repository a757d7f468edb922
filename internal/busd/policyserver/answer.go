package policyserver

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// ErrcodeField is the field of a refusal with the module's own errcode. The refusal's errcode is always M_FORBIDDEN,
// because homeservers treat others in different ways.
const ErrcodeField = "org.modulebus.errcode"

// Answer is the answer to the server that asked: an HTTP status and a JSON object.
type Answer struct {
	Status int
	Body   []byte
	kind   string // its label in metrics
}

func answer(kind string, status int, body map[string]any) Answer {
	out, err := json.Marshal(body)
	if err != nil {
		return refused("the module's fields are no JSON")
	}
	return Answer{status, out, kind}
}

func problem(kind string, status int, errcode, text string) Answer {
	e := matrix.Error{Status: status, Errcode: errcode, Text: text}
	return Answer{status, e.Body(), kind}
}

// signedAs quotes a server's name and a signature, in which nothing needs an escape.
func signedAs(server, signature string) Answer {
	return Answer{http.StatusOK, fmt.Appendf(nil, `{%q:{%q:%q}}`, server, KeyID, signature), "signed"}
}

func unauthorized(err error) Answer {
	return problem("unauthorized", http.StatusUnauthorized, "M_UNAUTHORIZED", err.Error())
}

func strange() Answer {
	return problem("unknown_room", http.StatusNotFound, "M_NOT_FOUND", "this is not the policy server of that room")
}

// refused is 400 with M_FORBIDDEN, the only answer that every homeserver treats as a refusal.
func refused(text string) Answer {
	return problem("refused", http.StatusBadRequest, matrix.Forbidden, text)
}

// Undecided is what other servers are told if no module has decided. The record and the log say which one failed, and how.
const Undecided = "The policy server cannot decide at the moment"

func failed() Answer {
	return problem("failed", http.StatusInternalServerError, matrix.Unknown, Undecided)
}

// refusedBy is a module's refusal, with its text and its fields.
func refusedBy(r *callbacksv1.Refusal) Answer {
	body := map[string]any{}
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(r.GetAdditionalFields(), &fields) // Without an object, there are none.
	for name, value := range fields {
		body[name] = value
	}
	if r.GetErrcode() != "" && r.GetErrcode() != matrix.Forbidden {
		body[ErrcodeField] = r.GetErrcode()
	}
	text := r.GetError()
	if text == "" {
		text = "This event is not allowed in this room"
	}
	body["errcode"], body["error"] = matrix.Forbidden, text
	return answer("refused", http.StatusBadRequest, body)
}
