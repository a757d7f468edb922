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

// itemOf reads what was stored. What this version cannot read stands in no order, and fails when it is told.
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

// declaration is the callback's; nil where this version has none of that name.
func (n *item) declaration() *subjects.Declaration {
	d, _ := subjects.Find(n.callback)
	return d
}

// content is the data of news, which may be in the stream alone.
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

// tell asks the module, as it is asked anything, and returns why it has not handled the news.
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

// question is what the module is asked, in the mapping that it wants.
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
	// headRoom is what headers of a question may take of a message, in bytes.
	headRoom = 1 << 10

	// maxPiece is how much of a question that is read in pieces comes at once, in bytes. Beyond: the piece is shorter than was asked.
	maxPiece = 128 << 10
)

// lend has a question that is larger than a message read in pieces until end is called. What is stored fits one; in JSON it may have
// grown.
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
		if subjects.MayReply(m.Subject, m.Reply) { // What busd may send, the module that asks may not.
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

// pieceOf is what a request to read asks for, at most so many bytes of it; nothing where it cannot be read.
func pieceOf(whole []byte, m *nats.Msg, most int) []byte {
	r := &rosterv1.ReadFile{}
	if wire.DecodeMessage(m, r) != nil || r.GetOffset() < 0 || r.GetOffset() >= int64(len(whole)) {
		return nil
	}
	rest := whole[r.GetOffset():]
	return rest[:min(len(rest), int(r.GetLength()), most)]
}

// discreet is the failure without what is secret in the news, which modules may repeat in its text.
func discreet(d *subjects.Declaration, data []byte, f *wire.Failure) *wire.Failure {
	if f == nil || f.Text == "" {
		return f
	}
	req := d.NewRequest()
	if wire.Decode(data, wire.Binary, req) != nil {
		return &wire.Failure{Kind: f.Kind, Text: "this busd cannot read the news"} // Nor say what of the text is secret.
	}
	return &wire.Failure{Kind: f.Kind, Text: redact.Text(f.Text, req)}
}

// encoded is what was stored, in the mapping that the module wants.
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

// failureOf is why a module has not handled what it was told; nil where it has, whatever it says.
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
