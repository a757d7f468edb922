package bus

import (
	"cmp"
	"encoding/json"
	"net/http"

	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// RefusalResponse returns the HTTP response for a client whose request modules refused: a status, which is 403
// unless the module chose another error status, and a Matrix error as JSON. If the module gave none, the errcode is
// M_FORBIDDEN and the error is words. The refusal's additional_fields stand beside the two and never replace them. The
// refusal must not be nil.
//
// Synapse answers most refused requests in this way. Where a callback's page says that the client sees something
// else, the homeserver must answer with that. An ask that failed is no refusal: its client gets a 5xx.
func RefusalResponse(r *callbacksv1.Refusal, words string) (status int, body []byte) {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(r.GetAdditionalFields(), &fields) != nil || fields == nil {
		fields = map[string]json.RawMessage{} // Only tests have something else than an object: modules' answers are checked.
	}
	fields["errcode"] = quoted(cmp.Or(r.GetErrcode(), matrix.Forbidden))
	fields["error"] = quoted(cmp.Or(r.GetError(), words))
	body, _ = json.Marshal(fields) // Raw messages come out of a decoder.
	status = int(r.GetHttpStatus())
	if status < http.StatusBadRequest || status > 599 {
		status = http.StatusForbidden
	}
	return status, body
}

func quoted(text string) json.RawMessage {
	data, _ := json.Marshal(text) // A string always encodes.
	return data
}
