package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// errLost is the error of a question that was not answered in time.
var errLost = fmt.Errorf("no answer came within %v", answerTime)

// question is a question to the module.
type question struct {
	callback *subjects.Declaration
	subject  string
	header   nats.Header
	data     []byte
	in       wire.Mapping
}

// registered returns the callbacks that the module registers and this version knows, without follow-ups.
func (s *stage) registered() (all []*subjects.Declaration) {
	for _, name := range s.busd.last().GetCallbacks() {
		if d, ok := subjects.Find(name); ok && !d.FollowUp() {
			all = append(all, d)
		}
	}
	return all
}

// first returns a callback for rules that can use any.
func (s *stage) first() (*subjects.Declaration, error) {
	all := s.registered()
	if len(all) == 0 {
		return nil, skip("it registers no callback")
	}
	return all[0], nil
}

// question returns a plausible question for the callback, as busd would send it.
func (s *stage) question(d *subjects.Declaration) question {
	in := wire.Mapping(s.busd.last().GetJson())
	data, _ := wire.Encode(sample(d), in) // A test encodes each sample.
	header := in.Header()
	if header == nil {
		header = nats.Header{}
	}
	return question{d, s.server.Callback(d, moduleName), header, data, in}
}

// any returns a question for rules that can use any.
func (s *stage) any() (question, error) {
	d, err := s.first()
	if err != nil {
		return question{}, err
	}
	return s.question(d), nil
}

// ask asks, and waits for the reply a little longer than the module's timeout.
func (s *stage) ask(ctx context.Context, q question) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime+answerTime/4)
	defer cancel()
	m, err := s.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: q.subject, Header: q.header, Data: q.data})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("nobody listens on %s: %w", q.subject, err)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, errLost
	}
	return m, err
}

// answered asks, and returns an error unless the reply is an answer, silence, or a failure that shows no bug.
func (s *stage) answered(ctx context.Context, q question) error {
	m, err := s.ask(ctx, q)
	if err != nil {
		return err
	}
	return q.acceptable(m)
}

// acceptable returns what is wrong with a reply.
func (q question) acceptable(m *nats.Msg) error {
	f := wire.FailureOf(m)
	switch {
	case f == nil:
		return q.readable(m)
	case len(m.Data) > 0:
		return errors.New("a failure has a payload, which is none")
	case f.Kind == rosterv1.FailureKind_PANIC || f.Kind == rosterv1.FailureKind_MALFORMED:
		return fmt.Errorf("a question that is in order is answered with a failure: %w", f)
	}
	return nil
}

// readable returns what is wrong with an answer, or with silence.
func (q question) readable(m *nats.Msg) error {
	if len(m.Data) == 0 {
		return nil
	}
	if in := wire.MappingOf(m); in != q.in {
		return fmt.Errorf("the question is %s, and the answer %s", spelled(q.in), spelled(in))
	}
	reply := q.callback.NewReply()
	if err := wire.DecodeStrict(m.Data, q.in, reply); err != nil {
		return fmt.Errorf("the answer is no %s: %w", reply.ProtoReflect().Descriptor().Name(), err)
	}
	if len(reply.ProtoReflect().GetUnknown()) > 0 {
		return fmt.Errorf("the answer has fields that %s has not", reply.ProtoReflect().Descriptor().Name())
	}
	return nil
}

func spelled(in wire.Mapping) string {
	if in == wire.JSON {
		return "JSON"
	}
	return "protobuf, by its header"
}

// mentions reports whether a failure's text repeats the secret.
func mentions(m *nats.Msg, secret string) bool {
	return strings.Contains(wire.Header(m, wire.HeaderError), secret)
}
