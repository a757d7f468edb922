package bus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/redact"
	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/subjects"
)

// MatrixError is an error of the Module API, with a Matrix error code and an HTTP status. A homeserver returns one to tell
// the module what went wrong.
type MatrixError = matrix.Error

const (
	// maxCalls is how many calls of the Module API are served at once, but for the places of each module's own. Beyond: answered 429,
	// M_LIMIT_EXCEEDED, and modulebus_module_api_calls_not_taken_total counts it.
	maxCalls = 512

	// ownCalls is how many calls of a module are served at once when other modules have taken all other places. Beyond: answered 429,
	// M_LIMIT_EXCEEDED, and modulebus_module_api_calls_not_taken_total counts it.
	ownCalls = 8

	closeTimeout = time.Second // for calls to return after their contexts have ended
)

// method is one method of the Module API that is implemented.
type method struct {
	*subjects.Method
	call func(context.Context, proto.Message) (proto.Message, error)
}

func bind[Request, Reply proto.Message](
	m subjects.APIMethod[Request, Reply], f func(context.Context, Request) (Reply, error),
) method {
	return method{m.Method, func(ctx context.Context, req proto.Message) (proto.Message, error) {
		return f(ctx, req.(Request))
	}}
}

func unimplemented(m *subjects.Method) error {
	return unrecognized("this homeserver does not implement " + m.Name)
}

func unrecognized(text string) *MatrixError {
	return &MatrixError{Status: http.StatusNotFound, Errcode: matrix.Unrecognized, Text: text}
}

// ServeModuleAPI lets modules call the implementation. A module may call the methods that the operator granted it; others
// are answered 403. Calls run concurrently, 512 at once, and 8 of each module beyond that; others are answered 429. Each has a context that ends at
// the module's deadline, 60 s at the latest.
//
// Calls are served until stop is called, which waits for calls under way, or until [Client.Close], which ends their
// contexts. Where several processes of a homeserver serve, each call goes to one of them. It returns [ErrClosed] after
// Close, and an error where NATS refuses the subscription.
func (c *Client) ServeModuleAPI(api ModuleAPI) (stop func(), err error) {
	byName := map[string]method{}
	for _, m := range methodsOf(api) {
		byName[m.Name] = m
	}
	return c.ServeCalls(func(ctx context.Context, m *subjects.Method, req proto.Message) (proto.Message, error) {
		return byName[m.Name].call(ctx, req)
	})
}

// ServeCalls is [Client.ServeModuleAPI] for one function that handles all methods.
func (c *Client) ServeCalls(handle CallFunc) (stop func(), err error) {
	if c.nc == nil {
		return nil, errors.New("bus: the Module API needs NATS")
	}
	s := &calls{client: c, handle: handle, log: c.log.Sample(&zerolog.BurstSampler{Burst: 1, Period: 10 * time.Second})}
	if err := s.open(); err != nil {
		s.close()
		return nil, fmt.Errorf("bus: cannot serve the Module API: %w", err)
	}
	forget, ok := c.onClose(s.close)
	if !ok {
		s.close()
		return nil, ErrClosed
	}
	return func() { forget(); <-s.drain() }, nil
}

// CallFunc answers a call of the Module API. The request has the method's type, and so must the reply. An error that is a
// [*MatrixError] reaches the module as it is, others as "Internal server error". It is called concurrently; ctx ends when the
// module no longer waits.
type CallFunc func(ctx context.Context, m *subjects.Method, req proto.Message) (proto.Message, error)

// calls serves the Module API.
type calls struct {
	client    *Client
	handle    CallFunc
	responder *responder.Responder
	cancel    context.CancelFunc // ends the contexts of all calls
	log       zerolog.Logger     // of what may happen to many calls
}

func (s *calls) open() error {
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	nc, server := s.client.nc, s.client.server
	s.responder = responder.New(nc, responder.Options{
		Limit: maxCalls, Requester: s.caller, Own: ownCalls, Serve: s.serve, Spell: s.spell, Context: ctx, Log: &s.client.log,
	})
	if err := s.responder.Subscribe(server.APIAny(), "homeserver"); err != nil {
		return err
	}
	if err := s.responder.Cancels(server.APICancelAny()); err != nil {
		return err
	}
	return nc.Flush()
}

// caller is the module that makes a call: NATS lets a module use its own name alone. Where NATS has no credentials, anybody can invent names:
// those that the roster does not have are one caller.
func (s *calls) caller(m *nats.Msg) string {
	module, _, _ := subjects.MethodOf(m.Subject) // The subscription has no other subjects.
	if _, listed := s.client.roster.Load().grants[module]; !listed {
		return ""
	}
	return module
}

// drain refuses new calls. The returned channel is closed when the calls under way have ended.
func (s *calls) drain() <-chan struct{} { return s.responder.Drain(closeTimeout) }

// close ends the contexts of calls under way, and waits at most closeTimeout for them to return.
func (s *calls) close() {
	ended := s.drain()
	s.cancel()
	select {
	case <-ended:
	case <-time.After(closeTimeout):
		s.client.log.Warn().Msg("a call of the Module API goes on after its context has ended")
	}
}

func (s *calls) serve(m *nats.Msg) responder.Answer {
	reply, err := s.answer(m)
	if err != nil {
		return s.refusal(m, err)
	}
	in := wire.MappingOf(m)
	data, err := wire.Encode(reply, in)
	if err != nil {
		return s.refusal(m, err)
	}
	return responder.Answer{Header: in.Header(), Data: data}
}

// spell says what a module is answered when its call was not handled, and logs why.
func (s *calls) spell(t responder.Trouble) responder.Answer {
	e := &MatrixError{Status: http.StatusInternalServerError, Errcode: matrix.Unknown, Text: "internal error"}
	switch t.Cause {
	case responder.Busy:
		s.client.metrics.untaken.Inc()
		s.log.Warn().Int("most", maxCalls).Msg("calls of the Module API are answered 429: too many are under way")
		e = &MatrixError{Status: http.StatusTooManyRequests, Errcode: matrix.LimitExceeded, Text: "too many calls of the Module API are under way"}
	case responder.TooLarge:
		e = &MatrixError{Status: http.StatusBadGateway, Errcode: matrix.TooLarge, Text: "the reply is larger than the server's max_payload: ask for less"}
	case responder.Panicked:
	}
	return answerOf(e)
}

func answerOf(e *MatrixError) responder.Answer {
	return responder.Answer{Header: wire.MatrixErrorHeader(e), Data: e.Body()}
}

// answer decodes a call, checks that the module may make it, and makes it.
func (s *calls) answer(m *nats.Msg) (proto.Message, error) {
	module, name, err := subjects.MethodOf(m.Subject)
	if err != nil {
		return nil, err
	}
	method, ok := subjects.FindMethod(name)
	if !ok {
		return nil, unrecognized(fmt.Sprintf("the Module API has no method %q", wire.OneLine(name)))
	}
	if err := s.granted(module, method); err != nil {
		return nil, err
	}
	req := method.NewRequest()
	if err := wire.DecodeMessage(m, req); err != nil {
		return nil, &MatrixError{Status: http.StatusBadRequest, Errcode: matrix.BadJSON, Text: err.Error()}
	}
	ctx := s.responder.Begin(wire.Header(m, wire.HeaderCall), wire.Timeout(m, wire.CallTimeout))
	defer ctx.End()
	spanned, span := s.client.spans.Serve(ctx, m, method.Name)
	defer span.End()
	span.Of(module, "")
	reply, err := s.call(spanned, method, req)
	if err != nil {
		span.Fail(callErrorType(err))
	}
	return reply, err
}

// call makes the call. It returns a panic as an error, and removes the request's secrets from the text of an error.
func (s *calls) call(ctx context.Context, m *subjects.Method, req proto.Message) (_ proto.Message, err error) {
	defer responder.Recover(&err, &s.client.log, "method", m.Name, req)
	reply, err := s.handle(ctx, m, req)
	if err != nil {
		return nil, callError{err, redact.Text(err.Error(), req)}
	}
	return reply, nil
}

// callError is an error of the implementation with a text that may be logged.
type callError struct {
	error

	text string
}

// Error implements error.
func (e callError) Error() string { return e.text }

// Unwrap returns the implementation's error.
func (e callError) Unwrap() error { return e.error }

// granted returns an error that names the missing grant; nil if the module may call the method.
func (s *calls) granted(module string, m *subjects.Method) error {
	scope := m.Options.GetScope()
	if m.Options.GetByDefault() || slices.Contains(s.client.roster.Load().grants[module], scope) {
		return nil
	}
	text := fmt.Sprintf(`module %s may not call %s: grant it with "grants: [%s]" at the module in busd.yaml`, module, m.Name, scope)
	return &MatrixError{Status: http.StatusForbidden, Errcode: matrix.Forbidden, Text: text}
}

// refusal is the answer for an error of a call. An error that is no MatrixError is not shown to the module.
func (s *calls) refusal(m *nats.Msg, err error) responder.Answer {
	var e *MatrixError
	var panicked *responder.PanicError
	switch {
	case errors.As(err, &e):
	case errors.As(err, &panicked): // It has been logged.
		return s.spell(responder.Trouble{Cause: responder.Panicked})
	case errors.Is(err, context.DeadlineExceeded):
		e = &MatrixError{Status: http.StatusGatewayTimeout, Errcode: matrix.Unknown, Text: "the homeserver did not answer in time"}
	default:
		s.client.log.Error().Err(err).Str("subject", m.Subject).Msg("a call of the Module API failed")
		e = &MatrixError{Status: http.StatusInternalServerError, Errcode: matrix.Unknown, Text: "Internal server error"}
	}
	return answerOf(e)
}
