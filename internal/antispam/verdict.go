package antispam

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// clashing are keys of a refusal that cannot be further fields: errcode and error have a place of their own, and Synapse
// fails when a module's fields have the other two, because they become arguments of its function cs_error.
var clashing = []string{"errcode", "error", "msg", "code"}

// unread are the codes with which servers say that they cannot read a question: Meowlnir, busd itself, and Draupnir, for example
// about a field that they expect and that another version of Matrix does not have.
var unread = []string{matrix.NotJSON, matrix.BadJSON, matrix.InvalidParam}

// Allowed is the body that lets go on what was asked about. An empty body would be a refusal to synapse-http-antispam.
var Allowed = []byte("{}")

// Refused returns the body of a refusal, with errcode always, and error unless the module leaves the words to the homeserver.
func Refused(r *callbacksv1.Refusal) []byte {
	body := map[string]any{}
	fields, _ := valid(r.GetAdditionalFields()).object() // It is checked where it comes from, and none where it is empty.
	for _, m := range fields {
		name, _ := m.key.text()
		body[name] = json.RawMessage(m.value)
	}
	for _, name := range clashing {
		delete(body, name)
	}
	body["errcode"] = matrix.Forbidden
	if r.GetErrcode() != "" {
		body["errcode"] = r.GetErrcode()
	}
	if r.GetError() != "" {
		body["error"] = r.GetError()
	}
	return appendCanonical(nil, body)
}

// Verdict returns what a server's reply means: a refusal; or nil, which lets it go on; or an error when the server is broken
// and has said nothing. It says what to do, and repeats nothing of the body.
//
// It is what synapse-http-antispam makes of replies, but for what a server cannot have meant: see docs/antispam.md.
func Verdict(status int, body []byte) (*callbacksv1.Refusal, error) {
	v, err := parse(body)
	if status/100 == 2 {
		if err != nil {
			return nil, fmt.Errorf("answered %d with %s: an antispam server answers {} to allow", status, described(body))
		}
		return nil, nil
	}
	object, ok := v.(map[string]any)
	if err != nil || !ok {
		return nil, fmt.Errorf("answered %d with %s: is base_url right?", status, described(body))
	}
	errcode, _ := object["errcode"].(string)
	if broken := brokenBy(status, errcode); broken != "" {
		return nil, fmt.Errorf("answered %d %.64s: %s", status, errcode, broken)
	}
	return refusal(errcode, object), nil
}

// brokenBy says why an error is about the server, and not about what it was asked.
func brokenBy(status int, errcode string) string {
	switch {
	case errcode == "M_MISSING_TOKEN", errcode == "M_UNKNOWN_TOKEN", status == http.StatusUnauthorized && errcode == "":
		return "it does not take the token: is it the one in token_file?"
	case errcode == matrix.Unrecognized, status == http.StatusNotFound && errcode == "":
		return "it does not know the path: is base_url right, and does it have the callback?"
	case slices.Contains(unread, errcode) && status == http.StatusBadRequest:
		return "it cannot read the question: see its log"
	case errcode == "" && status != http.StatusForbidden && status != http.StatusBadRequest: // So do proxies and routers answer.
		return "that is no answer: see its log"
	}
	return ""
}

func refusal(errcode string, fields map[string]any) *callbacksv1.Refusal {
	r := &callbacksv1.Refusal{Errcode: errcode}
	if errcode == "" {
		r.Errcode = matrix.Forbidden
	}
	r.Error, _ = fields["error"].(string)
	for _, name := range clashing {
		delete(fields, name)
	}
	if len(fields) > 0 {
		r.AdditionalFields = appendCanonical(nil, fields)
	}
	return r
}

// described tells bodies apart that are no JSON object.
func described(body []byte) string {
	switch {
	case len(body) == 0:
		return "an empty body"
	case valid(body) != nil:
		return "JSON that is no object"
	}
	return "a body that is not JSON"
}
