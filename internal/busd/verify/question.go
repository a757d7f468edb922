package verify

import (
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
