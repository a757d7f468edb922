package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
)

// request is what all rows ask.
var request = &callbacksv1.UserMayCreateRoomRequest{UserId: "@alice:example.com"}

type (
	response = *callbacksv1.UserMayCreateRoomResponse
	answerer = func(context.Context, *callbacksv1.UserMayCreateRoomRequest) (response, error)
)

func abstain(context.Context, *callbacksv1.UserMayCreateRoomRequest) (response, error) {
	return nil, nil
}

func refuse(context.Context, *callbacksv1.UserMayCreateRoomRequest) (response, error) {
	return &callbacksv1.UserMayCreateRoomResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", "You may not create rooms")}, nil
}

// slow waits as a module does that asks a database.
func slow(ctx context.Context, _ *callbacksv1.UserMayCreateRoomRequest) (response, error) {
	select {
	case <-time.After(5 * time.Millisecond):
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func answering(f answerer) func(*modulekit.ModuleAPI) {
	return func(api *modulekit.ModuleAPI) {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{UserMayCreateRoom: f})
	}
}

// ask is the operation on our side. A decision that is not what the module says is an error.
func ask(h *homeserver, want response) func(context.Context) error {
	return func(ctx context.Context) error {
		d, err := h.client.SpamChecker.UserMayCreateRoom(ctx, request)
		return errors.Join(err, check(d, want))
	}
}

func check(d bus.Decision[response], want response) error {
	if len(d.Failures) > 0 {
		return fmt.Errorf("module %s failed: %v", d.Failures[0].Module, d.Failures[0].Kind)
	}
	if got := d.Answer.GetRefusal().GetErrcode(); got != want.GetRefusal().GetErrcode() {
		return fmt.Errorf("answered with errcode %q, not with %q", got, want.GetRefusal().GetErrcode())
	}
	return nil
}

// asking is our side of most rows: one module that answers at once.
func asking(s *stage, name string, callers int, f answerer) (side, error) {
	h, err := newHomeserver(s, name, "module")
	if err != nil {
		return side{}, err
	}
	want, err := f(context.Background(), request)
	if err != nil {
		return side{}, err
	}
	return side{callers, ask(h, want)}, h.module("module", answering(f))
}

func askBare(callers int, f answerer) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		if ours, err = asking(s, "example.com", callers, f); err != nil {
			return ours, peer, err
		}
		peer, err = bare(s, callers, f)
		return ours, peer, err
	}
}

// bare is NATS and nothing else: the same bytes there and back, on a subject as long, by the client library's own means.
func bare(s *stage, callers int, f answerer) (side, error) {
	const subject = "modulebus.example%2Ecom.cb.spam_checker.user_may_create_room.another"
	data, err := proto.Marshal(request)
	if err != nil {
		return side{}, err
	}
	answer, err := f(context.Background(), request)
	if err != nil {
		return side{}, err
	}
	reply, err := proto.Marshal(answer)
	if err != nil {
		return side{}, err
	}
	responder, err := s.connect()
	if err != nil {
		return side{}, err
	}
	if _, err := responder.QueueSubscribe(subject, "another", func(m *nats.Msg) { _ = m.Respond(reply) }); err != nil {
		return side{}, err
	}
	if err := responder.Flush(); err != nil {
		return side{}, err
	}
	nc, err := s.connect()
	return side{callers, func(context.Context) error {
		_, err := nc.Request(subject, data, time.Second)
		return err
	}}, err
}

// askTen is asked by one caller, because it is about how long that one waits.
func askTen(s *stage) (ours, peer side, err error) {
	if ours, err = askSlow(s, 10); err == nil {
		peer, err = askSlow(s, 1)
	}
	return ours, peer, err
}

func askSlow(s *stage, n int) (side, error) {
	names := listed(n)
	h, err := newHomeserver(s, fmt.Sprintf("of-%d.example.com", n), names...)
	if err != nil {
		return side{}, err
	}
	for _, name := range names {
		if err := h.module(name, answering(slow)); err != nil {
			return side{}, err
		}
	}
	return side{1, ask(h, nil)}, nil
}

func listed(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("module-%d", i)
	}
	return names
}

func askThousand(callers int) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		if ours, err = askListed(s, callers, 1000); err == nil {
			peer, err = askListed(s, callers, 1)
		}
		return ours, peer, err
	}
}

// askListed has n modules in the roster, the last of which is asked; the others wanted something else when they were there.
func askListed(s *stage, callers, n int) (side, error) {
	names := listed(n)
	h, err := newHomeserver(s, fmt.Sprintf("of-%d.example.com", n), names...)
	if err != nil {
		return side{}, err
	}
	for _, name := range names[:n-1] {
		h.roster.Join(name, &rosterv1.Join{Worker: "1", Callbacks: []string{subjects.UserMayInvite.FullName()}}, time.Now())
	}
	return side{callers, ask(h, nil)}, h.module(names[n-1], answering(abstain))
}

// inviting registers another callback than the one that the rows ask.
func inviting(api *modulekit.ModuleAPI) {
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
		UserMayInvite: func(context.Context, *callbacksv1.UserMayInviteRequest) (*callbacksv1.UserMayInviteResponse, error) {
			return nil, nil
		},
	})
}

// unasked is the row of what costs nothing: a callback that no module registered. The module has joined: until then, any callback may be
// one that it wants.
type unasked struct{}

func (unasked) name() string { return "ask that no module registered for" }

func (u unasked) measure(ctx context.Context, o options) (_ string, err error) {
	const nanoseconds = 25
	s, err := newStage()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	h, err := newHomeserver(s, "example.com", "module")
	if err == nil {
		err = h.module("module", inviting)
	}
	if err != nil {
		return "", err
	}
	const often = 10_000 // A fraction of a millisecond: some round passes undisturbed.
	best := time.Hour
	for range 100 * o.rounds {
		start := time.Now()
		for range often {
			if _, err = h.client.SpamChecker.UserMayCreateRoom(ctx, request); err != nil {
				return "", err
			}
		}
		best = min(best, time.Since(start))
	}
	allocs := testing.AllocsPerRun(often, func() { _, err = h.client.SpamChecker.UserMayCreateRoom(ctx, request) })
	each := float64(best) / often
	return fmt.Sprintf("| %s (best of its rounds) | %.1f ns, %.0f allocs | | | ≤ %d ns, 0 allocs | %s |",
		u.name(), each, allocs, nanoseconds, verdict(each <= nanoseconds && allocs == 0)), err
}
