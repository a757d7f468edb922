package busd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// desk answers asks, whichever door they come through.
type desk struct{ client *bus.Client }

// problem is why an ask got no decision.
type problem struct {
	Errcode string `json:"errcode"`
	Text    string `json:"error"`
	Module  string `json:"module,omitempty"`
	Failure string `json:"failure,omitempty"`
	status  int
}

// body returns the problem as Matrix error JSON.
func (p *problem) body() []byte {
	body, _ := json.Marshal(p) // It is made of strings.
	return body
}

const (
	unknown      = "M_UNKNOWN"
	unrecognized = "M_UNRECOGNIZED"
)

// answer decodes the request, asks, and encodes the decision; all in JSON, or all in protobuf.
func (d desk) answer(ctx context.Context, name string, body []byte, inJSON bool) ([]byte, *problem) {
	callback, p := find(name)
	if p != nil {
		return nil, p
	}
	req := callback.NewRequest()
	if p := decode(body, inJSON, req); p != nil {
		return nil, p
	}
	decision, err := d.client.Ask(ctx, callback, req)
	if err != nil {
		return nil, failed(err)
	}
	out, err := encode(decision, inJSON)
	if err != nil {
		return nil, &problem{unknown, "cannot write the decision: " + err.Error(), "", "", http.StatusInternalServerError}
	}
	return out, nil
}

// find takes a full name only: the category is part of the address.
func find(name string) (*subjects.Declaration, *problem) {
	if d, ok := subjects.Find(name); ok && d.FullName() == name {
		return d, nil
	}
	category, callback, _ := strings.Cut(name, ".")
	var has, categories []string
	for _, c := range subjects.Categories() {
		categories = append(categories, c.Name)
		if c.Name == category {
			for _, d := range c.Callbacks {
				has = append(has, d.Name)
			}
		}
	}
	text := fmt.Sprintf("unknown category %q; there are: %s", category, strings.Join(categories, ", "))
	if len(has) > 0 {
		text = fmt.Sprintf("unknown callback %q; %s has: %s", callback, category, strings.Join(has, ", "))
	}
	return nil, &problem{Errcode: unrecognized, Text: text, status: http.StatusNotFound}
}

func decode(body []byte, inJSON bool, req proto.Message) *problem {
	err := wire.DecodeStrict(body, wire.Mapping(inJSON), req)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wire.ErrNotJSON):
		return &problem{Errcode: "M_NOT_JSON", Text: "the body is not a JSON object", status: http.StatusBadRequest}
	}
	return &problem{Errcode: "M_BAD_JSON", Text: err.Error(), status: http.StatusBadRequest}
}

func failed(err error) *problem {
	if f, ok := errors.AsType[*bus.Error](err); ok {
		return &problem{unknown, f.Error(), f.Module, wire.KindName(f.Kind), http.StatusBadGateway}
	}
	return &problem{Errcode: unknown, Text: err.Error(), status: http.StatusServiceUnavailable}
}

// decisionJSON is the JSON form of a [rosterv1.Decision].
type decisionJSON struct {
	Answer         json.RawMessage `json:"answer,omitempty"`
	DecidedBy      string          `json:"decided_by,omitempty"`
	Failures       []failureJSON   `json:"failures"`
	RosterRevision uint64          `json:"roster_revision"`
}

type failureJSON struct {
	Module  string `json:"module"`
	Failure string `json:"failure"`
	Policy  string `json:"policy"`
}

func encode(d bus.Decision[proto.Message], inJSON bool) ([]byte, error) {
	if inJSON {
		return encodeJSON(d)
	}
	out := &rosterv1.Decision{RosterRevision: d.RosterRevision}
	if d.DecidedBy != "" {
		out.DecidedBy = &d.DecidedBy
	}
	for _, f := range d.Failures {
		out.Failures = append(out.Failures, &rosterv1.Failure{Module: f.Module, Failure: f.Kind, Policy: f.Policy})
	}
	var err error
	if d.Answer != nil {
		out.Answer, err = proto.MarshalOptions{Deterministic: true}.Marshal(d.Answer)
	}
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(out)
}

func encodeJSON(d bus.Decision[proto.Message]) (_ []byte, err error) {
	out := decisionJSON{DecidedBy: d.DecidedBy, Failures: []failureJSON{}, RosterRevision: d.RosterRevision}
	for _, f := range d.Failures {
		out.Failures = append(out.Failures, failureJSON{f.Module, wire.KindName(f.Kind), strings.ToLower(f.Policy.String())})
	}
	if d.Answer != nil {
		if out.Answer, err = wire.ToJSON(d.Answer); err != nil {
			return nil, err
		}
	}
	return marshalPlain(out)
}
