package door

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// MaxAsks is how many asks one busd works on at once over NATS and, again, over HTTP. Beyond: answered 503.
const MaxAsks = 1024

// Answerer answers the asks of all doors. Its methods may be called concurrently. It is also a Prometheus collector, of
// asks that were refused.
type Answerer struct {
	prometheus.Collector

	client  *bus.Client
	places  chan struct{}          // holds one entry for each ask over HTTP that is under way
	untaken *prometheus.CounterVec // by status
	log     zerolog.Logger
}

// NewAnswerer returns an answerer that asks the client's modules.
func NewAnswerer(c *bus.Client, log zerolog.Logger) *Answerer {
	untaken := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "modulebus", Name: "asks_not_taken_total", Help: "Asks that busd answered with an error of their own, by its status.",
	}, []string{"status"})
	for _, status := range []string{"400", "404", "408", "413", "503"} { // An alert needs the series before the first count.
		untaken.WithLabelValues(status)
	}
	return &Answerer{untaken, c, make(chan struct{}, MaxAsks), untaken, log.Sample(&zerolog.BurstSampler{Burst: 5, Period: 10 * time.Second})}
}

// Note counts and logs an ask that was refused because of its request, or because busd is busy. An ask that a module
// failed (502) is not: it has a record.
func (a *Answerer) Note(p *Problem) {
	if p.Status != http.StatusBadGateway {
		a.untaken.WithLabelValues(strconv.Itoa(p.Status)).Inc()
		a.log.Warn().Int("status", p.Status).Str("error", wire.OneLine(p.Text)).Msg("an ask was not taken")
	}
}

// Ask asks the modules. The request must be one of the callback's. It blocks until there is a decision: as long as the
// operator's budget says, or until ctx ends.
func (a *Answerer) Ask(ctx context.Context, d *subjects.Declaration, req proto.Message) (bus.Decision[proto.Message], *Problem) {
	decision, err := a.client.Ask(ctx, d, req)
	switch {
	case err != nil:
		return decision, problemOf(err)
	case decision.RosterRevision == 0: // It is not known yet what modules want. The decision would be zero bytes in protobuf, like silence.
		return decision, NewProblem(http.StatusServiceUnavailable, matrix.Unknown, "there is no roster yet")
	}
	return decision, nil
}

// Take takes a place for an ask over HTTP, until release is called. It reports false if there is none.
func (a *Answerer) Take() (release func(), ok bool) {
	select {
	case a.places <- struct{}{}:
		return func() { <-a.places }, true
	default:
		return nil, false
	}
}

// Answer is Ask for an encoded request. The decision has the same encoding.
func (a *Answerer) Answer(ctx context.Context, name string, body []byte, in wire.Mapping) ([]byte, *Problem) {
	callback, p := find(name)
	if p != nil {
		return nil, p
	}
	req := callback.NewRequest()
	if p := decode(body, in, req); p != nil {
		return nil, p
	}
	ctx, id := records.Named(ctx)
	decision, p := a.Ask(ctx, callback, req)
	if p != nil {
		p.DecisionID = id()
		return nil, p
	}
	out, err := encode(decision, id(), in)
	if err != nil {
		return nil, NewProblem(http.StatusInternalServerError, matrix.Unknown, "cannot write the decision: "+err.Error())
	}
	return out, nil
}

// find finds a callback by its full name; the category is part of it.
func find(name string) (*subjects.Declaration, *Problem) {
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
	return nil, NewProblem(http.StatusNotFound, matrix.Unrecognized, text)
}

func decode(body []byte, in wire.Mapping, req proto.Message) *Problem {
	err := wire.DecodeStrict(body, in, req)
	if in == wire.JSON && !utf8.Valid(body) { // Raw JSON would be passed on as it is.
		err = wire.ErrNotJSON
	}
	switch {
	case err == nil && in == wire.Binary && lacksAll(req):
		return NewProblem(http.StatusBadRequest, matrix.BadJSON, fmt.Sprintf("the body has no field of %s: it is empty, or another message",
			req.ProtoReflect().Descriptor().Name()))
	case err == nil:
		return nil
	case errors.Is(err, wire.ErrNotJSON):
		return NewProblem(http.StatusBadRequest, matrix.NotJSON, "the body is not a JSON object")
	}
	return NewProblem(http.StatusBadRequest, matrix.BadJSON, err.Error())
}

// lacksAll reports whether a request has no field at all although it must have one: a field that is not optional, not a
// list, and not JSON, which is {} when empty. In protobuf, a body that was lost on its way, and a message of another
// callback, look like this. See ADR 66.
func lacksAll(req proto.Message) (lacks bool) {
	m := req.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if m.Has(f) {
			return false
		}
		lacks = lacks || !f.IsList() && !f.HasOptionalKeyword() && f.Kind() != protoreflect.BytesKind
	}
	return lacks
}

// decisionJSON is the JSON form of a [rosterv1.Decision].
type decisionJSON struct {
	Answer         json.RawMessage `json:"answer,omitempty"`
	DecidedBy      string          `json:"decided_by,omitempty"`
	Failures       []failureJSON   `json:"failures"`
	RosterRevision uint64          `json:"roster_revision"`
	DecisionID     string          `json:"decision_id,omitempty"` // of its record; absent where no module was asked
}

type failureJSON struct {
	Module  string `json:"module"`
	Failure string `json:"failure"`
	Policy  string `json:"policy"`
}

func encode(d bus.Decision[proto.Message], id string, in wire.Mapping) ([]byte, error) {
	if in == wire.JSON {
		return encodeJSON(d, id)
	}
	out := &rosterv1.Decision{RosterRevision: d.RosterRevision}
	if id != "" {
		out.DecisionId = &id
	}
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

func encodeJSON(d bus.Decision[proto.Message], id string) (_ []byte, err error) {
	out := decisionJSON{DecidedBy: d.DecidedBy, Failures: []failureJSON{}, RosterRevision: d.RosterRevision, DecisionID: id}
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
