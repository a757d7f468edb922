package modulekit

import (
	"context"
	"errors"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/redact"
	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// handle handles every request for a callback: it decodes it, calls the module, and returns the encoded answer, or a
// failure.
func (h handler) handle(ctx context.Context, data []byte, in wire.Mapping, log *zerolog.Logger) (reply []byte, failed *wire.Failure) {
	req := h.callback.NewRequest()
	if err := wire.Decode(data, in, req); err != nil {
		return nil, &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: "cannot read the request: " + err.Error()}
	}
	h.follow.arrived(h.callback, req)
	answer, failed := h.answer(ctx, req, log)
	if failed != nil {
		return nil, failed
	}
	answer = h.follow.expect(h.callback, answer)
	if answer == nil || !answer.ProtoReflect().IsValid() {
		return nil, nil // no opinion
	}
	reply, err := wire.Encode(answer, in)
	if err != nil {
		return nil, &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: "cannot write the answer: " + err.Error()}
	}
	return reply, nil
}

// answer calls the module. A panic becomes a failure, and its value and stack stay in the module's own log.
func (h handler) answer(ctx context.Context, req proto.Message, log *zerolog.Logger) (proto.Message, *wire.Failure) {
	answer, err := h.guarded(ctx, req, log)
	if err != nil {
		return nil, h.failure(ctx, err, req, log)
	}
	return answer, nil
}

func (h handler) guarded(ctx context.Context, req proto.Message, log *zerolog.Logger) (_ proto.Message, err error) {
	defer responder.Recover(&err, log, "callback", h.callback.FullName(), req)
	return h.call(ctx, req)
}

// failure makes a failure of the module's error, without the secrets of the request.
func (h handler) failure(ctx context.Context, err error, req proto.Message, log *zerolog.Logger) *wire.Failure {
	if _, ok := errors.AsType[*responder.PanicError](err); ok {
		return &wire.Failure{Kind: rosterv1.FailureKind_PANIC, Text: "see the module's log"}
	}
	text := redact.Text(err.Error(), req)
	level := zerolog.WarnLevel
	if errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled) { // The answer is no longer wanted.
		level = zerolog.DebugLevel
	}
	log.WithLevel(level).Str("callback", h.callback.FullName()).Str(zerolog.ErrorFieldName, text).Msg("callback failed")
	if ctx.Err() != nil {
		return &wire.Failure{Kind: rosterv1.FailureKind_TIMEOUT, Text: text}
	}
	return &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: text}
}

// handler is one callback that a module implements.
type handler struct {
	callback *subjects.Declaration
	call     func(context.Context, proto.Message) (proto.Message, error) // nil for a callback that the module leaves out
	needs    *rosterv1.Needs                                             // nil for none
	follow   *follow                                                     // nil without a follow-up
}

func bind[Request, Reply proto.Message](
	cb subjects.Callback[Request, Reply], f func(context.Context, Request) (Reply, error),
) handler {
	if f == nil {
		return handler{callback: cb.Declaration}
	}
	return handler{callback: cb.Declaration, call: func(ctx context.Context, req proto.Message) (proto.Message, error) {
		return f(ctx, req.(Request))
	}}
}
