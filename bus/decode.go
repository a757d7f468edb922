package bus

import (
	"cmp"
	"encoding/json"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// decode returns the answer in a reply, nil for no opinion, or the failure that the reply reports, or is when it
// cannot be read. It calls skips with the part of an answer that this version does not know.
func decode(d *subjects.Declaration, m *nats.Msg, skips func(part error)) (proto.Message, *wire.Failure) {
	if f := wire.FailureOf(m); f != nil {
		return nil, f
	}
	if len(m.Data) == 0 {
		return nil, nil
	}
	if refused := readRefusal(d, m); refused != nil {
		return refused, nil
	}
	return read(d, m, skips)
}

// readRefusal is read for an answer that is a plain refusal, in a third of its time; nil for any other.
func readRefusal(d *subjects.Declaration, m *nats.Msg) proto.Message {
	if !d.CanRefuse() || wire.MappingOf(m) != wire.Binary {
		return nil
	}
	r, ok := wire.ReadRefusal(m.Data)
	if !ok {
		return nil
	}
	r.Errcode = cmp.Or(r.Errcode, forbidden)
	return d.Refused(r)
}

// read decodes a reply that reports no failure.
func read(d *subjects.Declaration, m *nats.Msg, skips func(part error)) (proto.Message, *wire.Failure) {
	answer := d.NewReply()
	skipped, err := wire.DecodeTelling(m.Data, wire.MappingOf(m), answer)
	switch {
	case err != nil:
		return nil, &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: err.Error()}
	case combine.Empty(answer):
		return nil, misunderstood(d, skipped)
	case skipped != nil:
		skips(skipped)
	}
	complete(answer)
	return answer, nil
}

// misunderstood is the failure of a reply that has parts which this version does not know, and nothing else. The
// unknown part may be a refusal, so the reply is not silence. See ADR 66.
func misunderstood(d *subjects.Declaration, skipped error) *wire.Failure {
	if skipped == nil {
		return nil
	}
	text := "the reply says something, and nothing that this callback has: " + skipped.Error()
	if d.CanRefuse() {
		text += `; a refusal is {"refusal": {"errcode": …, "error": …}}`
	}
	return &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: wire.OneLine(text)}
}

// unstored returns the failure that JetStream's reply reports; nil if the news is stored.
func unstored(m *nats.Msg) *wire.Failure {
	if f := wire.FailureOf(m); f != nil {
		return &wire.Failure{Kind: f.Kind, Text: cmp.Or(f.Text, "JetStream does not keep its news")}
	}
	var ack struct {
		Stream string `json:"stream"`
		Error  *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &ack); {
	case err == nil && ack.Error != nil:
		return &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: wire.OneLine("JetStream does not keep its news: " + ack.Error.Description)}
	case err != nil || ack.Stream == "":
		return &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: "what answers in place of JetStream is something else"}
	}
	return nil
}

// complete fills in the errcode that a refusal without one stands for.
func complete(answer proto.Message) {
	a, ok := answer.(interface{ GetRefusal() *callbacksv1.Refusal })
	if !ok {
		return
	}
	if r := a.GetRefusal(); r != nil && r.GetErrcode() == "" {
		r.Errcode = forbidden
	}
}

const forbidden = matrix.Forbidden
