package news

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/redact"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// itemOf reads a piece of stored news. A piece that this version cannot read has no order, and fails when it is
// delivered.
func (x *term) itemOf(m jetstream.Msg, meta *jetstream.MsgMetadata) *item {
	n := &item{seq: meta.Sequence.Stream, stored: meta.Timestamp, data: m.Data(), ack: m.Reply(), key: strconv.FormatUint(meta.Sequence.Stream, 10)}
	n.trace = wire.TraceContextOf(&nats.Msg{Header: m.Headers()})
	n.callback, _ = subjects.NewsOf(m.Subject()) // The stream hears no other subjects.
	d := n.declaration()
	if d == nil {
		return n
	}
	req := d.NewRequest()
	if wire.Decode(n.data, wire.Binary, req) != nil {
		return n
	}
	if value, ordered := declared.Of(d).OrderOf(req); ordered {
		n.key = "=" + value
	}
	return n
}

// declaration returns the callback's declaration; nil if this version does not know the callback.
func (n *item) declaration() *subjects.Declaration {
	d, _ := subjects.Find(n.callback)
	return d
}

// content returns the data of a piece of news, which may have to be read from the stream.
func (x *term) content(ctx context.Context, n *item) ([]byte, error) {
	if !n.left {
		return n.data, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ackTime)
	defer cancel()
	m, err := x.stream.GetMsg(ctx, n.seq)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

// tell delivers the news to the module as an ordinary question, and returns why the module has not handled it; nil if
// it has.
func (x *term) tell(ctx context.Context, n *item, data []byte) *wire.Failure {
	d := n.declaration()
	if d == nil {
		return &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: "this busd does not know the callback"}
	}
	q, failure := x.question(d, data)
	if failure != nil {
		return failure
	}
	q.Header.Set(wire.HeaderNews, x.nameOf(n))
	n.trace.Put(q.Header)
	end, failure := x.lend(q)
	if failure != nil {
		return failure
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, x.module.Load().TermsOf(d).Timeout)
	defer cancel()
	reply, err := x.service.Conn.RequestMsgWithContext(ctx, q)
	return discreet(d, data, failureOf(reply, err))
}

// question returns the question to the module, in the encoding that it wants.
func (x *term) question(d *subjects.Declaration, data []byte) (*nats.Msg, *wire.Failure) {
	in := wire.Mapping(x.roster.Load().GetJson())
	data, failure := encoded(d, data, in)
	if failure != nil {
		return nil, failure
	}
	header := in.Header()
	if header == nil {
		header = nats.Header{}
	}
	return &nats.Msg{Subject: x.service.server.Callback(d, x.name), Header: header, Data: data}, nil
}

const (
	// headRoom is how many bytes of a message are kept for the headers of a question.
	headRoom = 1 << 10

	// maxPiece is how much of a question that is read in pieces comes at once, in bytes. Beyond: the piece is shorter than was asked.
	maxPiece = 128 << 10
)

// lend lets the module read a question that is larger than a message in pieces, until end is called. Stored news fits a
// message, but may not in JSON.
func (x *term) lend(q *nats.Msg) (end func(), failure *wire.Failure) {
	most := int(x.service.Conn.MaxPayload())
	whole := q.Data
	switch {
	case len(whole)+headRoom <= most:
		return func() {}, nil
	case !x.roster.Load().GetPulls():
		return nil, &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: fmt.Sprintf("in JSON the news has %d bytes, more than a message of %d: "+
			"update the module to one that reads large questions in pieces", len(whole), most)}
	}
	subject := x.service.server.File(x.name, x.service.name, nuid.Next())
	sub, err := x.service.Conn.Subscribe(subject, func(m *nats.Msg) {
		if subjects.MayReply(m.Subject, m.Reply) { // busd may publish where the module may not.
			_ = m.Respond(pieceOf(whole, m, min(most, maxPiece))) // It fails when the connection is closed.
		}
	})
	if err != nil {
		return nil, &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: wire.OneLine(err.Error())}
	}
	q.Data = wire.Elsewhere
	q.Header.Set(wire.HeaderQuestion, subject)
	q.Header.Set(wire.HeaderQuestionSize, strconv.Itoa(len(whole)))
	return func() { _ = sub.Unsubscribe() }, nil // It fails when the connection is closed.
}

// pieceOf returns the piece that a request asks for, at most most bytes of it; nil if the request cannot be read.
func pieceOf(whole []byte, m *nats.Msg, most int) []byte {
	r := &rosterv1.ReadFile{}
	if wire.DecodeMessage(m, r) != nil || r.GetOffset() < 0 || r.GetOffset() >= int64(len(whole)) {
		return nil
	}
	rest := whole[r.GetOffset():]
	return rest[:min(len(rest), int(r.GetLength()), most)]
}

// discreet returns the failure without the secrets of the news, which a module may have repeated in its text.
func discreet(d *subjects.Declaration, data []byte, f *wire.Failure) *wire.Failure {
	if f == nil || f.Text == "" {
		return f
	}
	req := d.NewRequest()
	if wire.Decode(data, wire.Binary, req) != nil {
		return &wire.Failure{Kind: f.Kind, Text: "this busd cannot read the news"} // So it does not know what in the text is secret.
	}
	return &wire.Failure{Kind: f.Kind, Text: redact.Text(f.Text, req)}
}

// encoded returns the stored news in the encoding that the module wants.
func encoded(d *subjects.Declaration, data []byte, in wire.Mapping) ([]byte, *wire.Failure) {
	if in == wire.Binary {
		return data, nil
	}
	req := d.NewRequest()
	err := wire.Decode(data, wire.Binary, req)
	if err == nil {
		data, err = wire.Encode(req, in)
	}
	if err != nil {
		return nil, &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: err.Error()}
	}
	return data, nil
}

// failureOf returns why a module has not handled news, by its reply; nil if it has, whatever the reply says.
func failureOf(reply *nats.Msg, err error) *wire.Failure {
	switch {
	case err == nil:
		return wire.FailureOf(reply)
	case errors.Is(err, context.DeadlineExceeded):
		return &wire.Failure{Kind: rosterv1.FailureKind_TIMEOUT}
	case errors.Is(err, nats.ErrNoResponders):
		return &wire.Failure{Kind: rosterv1.FailureKind_ABSENT}
	}
	return &wire.Failure{Kind: rosterv1.FailureKind_ABSENT, Text: wire.OneLine(err.Error())}
}
