package news

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/redact"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// itemOf reads what was stored. What this version cannot read stands in no order, and fails when it is told.
func (x *term) itemOf(m jetstream.Msg, meta *jetstream.MsgMetadata) *item {
	n := &item{seq: meta.Sequence.Stream, stored: meta.Timestamp, data: m.Data(), msg: m, key: strconv.FormatUint(meta.Sequence.Stream, 10)}
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

// tell asks the module, as it is asked anything, and returns why it has not handled the news.
func (x *term) tell(ctx context.Context, n *item) *wire.Failure {
	d := n.declaration()
	if d == nil {
		return &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: "this busd does not know the callback"}
	}
	in := wire.Mapping(x.roster.Load().GetJson())
	data, failure := encoded(d, n.data, in)
	if failure != nil {
		return failure
	}
	header := in.Header()
	if header == nil {
		header = nats.Header{}
	}
	header.Set(wire.HeaderNews, x.nameOf(n))
	ctx, cancel := context.WithTimeout(ctx, x.module.Load().TermsOf(d).Timeout)
	defer cancel()
	reply, err := x.service.Conn.RequestMsgWithContext(ctx, &nats.Msg{
		Subject: x.service.server.Callback(d, x.name), Header: header, Data: data,
	})
	return n.discreet(d, failureOf(reply, err))
}

// discreet is the failure without what is secret in the news, which modules may repeat in its text.
func (n *item) discreet(d *subjects.Declaration, f *wire.Failure) *wire.Failure {
	if f == nil || f.Text == "" {
		return f
	}
	req := d.NewRequest()
	if wire.Decode(n.data, wire.Binary, req) != nil {
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
	case errors.Is(err, nats.ErrMaxPayload):
		return &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: "it is larger than the server's max_payload"}
	}
	return &wire.Failure{Kind: rosterv1.FailureKind_ABSENT, Text: wire.OneLine(err.Error())}
}
