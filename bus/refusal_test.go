package bus_test

import (
	"testing"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

func TestRefusalResponseIsWhatSynapseTellsClients(t *testing.T) {
	t.Parallel()
	status := func(n uint32) *uint32 { return &n }
	tests := map[string]struct {
		refusal *callbacksv1.Refusal
		status  int
		body    string
	}{
		"empty":             {&callbacksv1.Refusal{}, 403, `{"errcode":"M_FORBIDDEN","error":"no"}`},
		"code and text":     {&callbacksv1.Refusal{Errcode: "ORG.SPAM", Error: "spam"}, 403, `{"errcode":"ORG.SPAM","error":"spam"}`},
		"a status":          {&callbacksv1.Refusal{HttpStatus: status(451)}, 451, `{"errcode":"M_FORBIDDEN","error":"no"}`},
		"a status of yes":   {&callbacksv1.Refusal{HttpStatus: status(200)}, 403, `{"errcode":"M_FORBIDDEN","error":"no"}`},
		"no status at all":  {&callbacksv1.Refusal{HttpStatus: status(6000)}, 403, `{"errcode":"M_FORBIDDEN","error":"no"}`},
		"fields":            {&callbacksv1.Refusal{AdditionalFields: []byte(`{"n": 12345678901234567890}`)}, 403, `{"errcode":"M_FORBIDDEN","error":"no","n":12345678901234567890}`},
		"fields of a liar":  {&callbacksv1.Refusal{AdditionalFields: []byte(`{"errcode":"M_OK","error":1}`)}, 403, `{"errcode":"M_FORBIDDEN","error":"no"}`},
		"fields of nothing": {&callbacksv1.Refusal{AdditionalFields: []byte(`null`)}, 403, `{"errcode":"M_FORBIDDEN","error":"no"}`},
		"fields, half":      {&callbacksv1.Refusal{AdditionalFields: []byte(`{"a":`)}, 403, `{"errcode":"M_FORBIDDEN","error":"no"}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, body := bus.RefusalResponse(test.refusal, "no"); status != test.status || string(body) != test.body {
				t.Errorf("%d %s; want %d %s", status, body, test.status, test.body)
			}
		})
	}
}
