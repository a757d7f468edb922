// Package bustest has clients that answer from a script, for the tests of a homeserver.
//
//	modules := bustest.New(t, bustest.Answer(subjects.UserMayCreateRoom, &callbacksv1.UserMayCreateRoomResponse{
//		Refusal: &callbacksv1.Refusal{Errcode: "M_FORBIDDEN"},
//	}))
//
// Everything but the network is real: order, rules, failure policies and deadlines.
//
// Three suites test a homeserver: [Gate] tests a callback that can refuse, [Answers] one whose answers are used, merged
// or passed on, and [Calls] the Module API. For homeservers that ask over HTTP, in any language,
// testdata/http-door.json lists what busd can answer, and what each answer means.
package bustest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// ServerName is the homeserver's name in every script.
const ServerName = "example.com"

// Script says how a module of the client behaves. Several scripts of one module add up. Modules have the order in which they
// are first named.
type Script struct {
	module   string
	callback *subjects.Declaration
	policy   callbacksv1.OnFailure
	timeout  time.Duration
	respond  func(ctx context.Context, data []byte) *nats.Msg
}

// Answer lets a module give the same answer to each request; nil is no opinion. The reply must not be changed until the test
// has ended.
func Answer[Request, Reply proto.Message](cb subjects.Callback[Request, Reply], reply Reply) Script {
	return Func(cb, func(context.Context, Request) (Reply, error) { return reply, nil })
}

// Func lets a module answer with a function; an error of it is a failure of the module. It may be called concurrently,
// on goroutines that the test waits for. Its context ends when the answer is no longer wanted.
func Func[Request, Reply proto.Message](
	cb subjects.Callback[Request, Reply], f func(context.Context, Request) (Reply, error),
) Script {
	return Script{callback: cb.Declaration, module: "scripted", respond: func(ctx context.Context, data []byte) *nats.Msg {
		req := cb.NewRequest()
		if err := proto.Unmarshal(data, req); err != nil {
			return failure(rosterv1.FailureKind_MALFORMED, err.Error())
		}
		reply, err := f(ctx, req.(Request))
		if err != nil {
			return failure(rosterv1.FailureKind_ERROR, err.Error())
		}
		data, err = proto.Marshal(reply)
		if err != nil {
			return failure(rosterv1.FailureKind_MALFORMED, err.Error())
		}
		return &nats.Msg{Data: data}
	}}
}

// Fail lets a module fail each time. The kind ABSENT is a module without workers.
func Fail(cb subjects.AnyCallback, kind rosterv1.FailureKind) Script {
	return Script{callback: subjects.DeclarationOf(cb), module: "scripted", respond: func(ctx context.Context, _ []byte) *nats.Msg {
		switch kind {
		case rosterv1.FailureKind_TIMEOUT:
			<-ctx.Done()
		case rosterv1.FailureKind_ABSENT:
			return &nats.Msg{Header: nats.Header{"Status": {"503"}}}
		}
		return failure(kind, "scripted")
	}}
}

func failure(kind rosterv1.FailureKind, text string) *nats.Msg {
	return &nats.Msg{Header: (&wire.Failure{Kind: kind, Text: text}).Header()}
}

// By names the module whose script it is. Default: scripted.
func (s Script) By(module string) Script { s.module = module; return s }

// OnFailure sets the policy of the module for the callback. Default: the callback's.
func (s Script) OnFailure(p callbacksv1.OnFailure) Script { s.policy = p; return s }

// Timeout sets how long the module may take. Default: 1 s.
func (s Script) Timeout(d time.Duration) Script { s.timeout = d; return s }

// New returns a client whose modules do what the scripts say. It is closed when the test ends, which waits for
// functions still running.
func New(tb testing.TB, scripts ...Script) *bus.Client {
	tb.Helper()
	l := &line{scripts: map[string]Script{}, waiting: map[natsrequest.Ticket]context.CancelFunc{}}
	ctx := busopts.With(tb.Context(), busopts.Client{Requester: l, Roster: l.roster(scripts)})
	c, err := bus.New(ctx, nil, bus.Options{ServerName: ServerName})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close(); l.close() })
	return c
}

// line is the [natsrequest.Requester] that leads to scripts.
type line struct {
	scripts map[string]Script // by subject

	mu      sync.Mutex
	last    natsrequest.Ticket
	waiting map[natsrequest.Ticket]context.CancelFunc
	running sync.WaitGroup
}

// roster lists the modules of the scripts.
func (l *line) roster(scripts []Script) *rosterv1.Roster {
	r := &rosterv1.Roster{Revision: 1}
	byName := map[string]*rosterv1.Module{}
	for _, s := range scripts {
		m := byName[s.module]
		if m == nil {
			m = &rosterv1.Module{Name: s.module}
			byName[s.module] = m
			r.Modules = append(r.Modules, m)
		}
		m.Callbacks = append(m.Callbacks, &rosterv1.Interest{
			Callback: s.callback.FullName(), OnFailure: s.policy, TimeoutMs: uint32(s.timeout.Milliseconds()),
		})
		l.scripts[subjects.For(ServerName).Callback(s.callback, s.module)] = s
	}
	return r
}

// errNoScript cannot happen: the roster lists only what has a script.
var errNoScript = errors.New("bustest: no script")

// Send implements [natsrequest.Requester].
func (l *line) Send(to natsrequest.Receiver, i int, r natsrequest.Request) (natsrequest.Ticket, error) {
	s, ok := l.scripts[r.Subject]
	if !ok {
		return 0, errNoScript
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	ticket, data := l.last, append([]byte(nil), r.Data...)
	l.waiting[ticket] = cancel
	l.running.Go(func() { l.deliver(ticket, to, i, s.respond(ctx, data)) })
	return ticket, nil
}

func (l *line) deliver(t natsrequest.Ticket, to natsrequest.Receiver, i int, m *nats.Msg) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cancel := l.waiting[t]; cancel != nil {
		cancel()
		delete(l.waiting, t)
		to.Receive(i, m)
	}
}

// Forget implements [natsrequest.Requester].
func (l *line) Forget(t natsrequest.Ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cancel := l.waiting[t]; cancel != nil {
		cancel()
		delete(l.waiting, t)
	}
}

// Cancel implements [natsrequest.Requester].
func (l *line) Cancel(t natsrequest.Ticket, _ string) { l.Forget(t) }

// Lost implements [natsrequest.Requester].
func (l *line) Lost(string) {}

// Flush implements [natsrequest.Requester].
func (*line) Flush() {}

// MaxPayload implements [natsrequest.Requester].
func (l *line) MaxPayload() int { return 1 << 20 }

func (l *line) close() { l.running.Wait() }
