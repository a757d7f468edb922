package bus_test

import (
	"context"
	"errors"
	"testing"

	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// asks is a module that answers whether rooms may be created.
func asks(f func(context.Context, *question) (*verdict, error)) func(*modulekit.ModuleAPI) {
	return func(api *modulekit.ModuleAPI) {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{UserMayCreateRoom: f})
	}
}

// waits is a module that waits until nobody wants its answer any more. It says when it began, and why it ended.
func waits(began chan<- struct{}, ended chan<- error) func(*modulekit.ModuleAPI) {
	return asks(func(ctx context.Context, _ *question) (*verdict, error) {
		began <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return denied("late"), nil
	})
}

func TestModuleIsToldWhenAnEarlierOneDecided(t *testing.T) {
	t.Parallel()
	natstest.Each(t, func(t *testing.T, home *natstest.Home) {
		s := newStage(t, home, entry("first"), entry("second"))
		began, ended := make(chan struct{}, 1), make(chan error, 1)
		s.run("second", "w", waits(began, ended))
		s.run("first", "w", asks(func(context.Context, *question) (*verdict, error) {
			<-began
			return denied("A"), nil
		}))
		got, err := s.SpamChecker.UserMayCreateRoom(t.Context(), &question{})
		if err != nil || got.DecidedBy != "first" || got.Answer.GetRefusal().GetErrcode() != "A" {
			t.Errorf("got %v, %v", got, err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the second module's context ended with %v", err)
		}
	})
}

func TestModuleIsToldWhenTheCallerIsGone(t *testing.T) {
	t.Parallel()
	natstest.Each(t, func(t *testing.T, home *natstest.Home) {
		s := newStage(t, home, entry("a"))
		began, ended := make(chan struct{}, 1), make(chan error, 1)
		s.run("a", "w1", waits(began, ended))
		s.run("a", "w2", waits(began, ended)) // It is told, too, and it is none of its business.
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-began; cancel() }()
		if got, err := s.SpamChecker.UserMayCreateRoom(ctx, &question{}); !errors.Is(err, context.Canceled) || got.Answer != nil {
			t.Errorf("got %v, %v", got, err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the module's context ended with %v", err)
		}
	})
}

// One that is asked in order is not told of what it was not asked.
func TestModuleThatHasAnsweredIsNotCancelled(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"), entry("b"))
	for _, name := range []string{"a", "b"} {
		s.run(name, "w", asks(func(context.Context, *question) (*verdict, error) { return nil, nil }))
	}
	calledOff := s.spy("modulebus.*.module.*.cancel")
	for range 20 {
		if got, err := s.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil || got.Answer != nil {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if heard := calledOff.heard(); len(heard) > 0 {
		t.Errorf("%d requests were called off", len(heard))
	}
}

func TestBusyWorkerLeavesTheAskToAnother(t *testing.T) {
	t.Parallel()
	natstest.Each(t, func(t *testing.T, home *natstest.Home) {
		s := newStage(t, home, entry("a"))
		began, free := make(chan struct{}), make(chan struct{})
		working := asks(func(_ context.Context, q *question) (*verdict, error) {
			if q.GetUserId() == "@slow:x" {
				began <- struct{}{}
				<-free
			}
			return nil, nil
		})
		s.runWith("a", modulekit.Options{Worker: "w1", Concurrency: 1}, working)
		s.runWith("a", modulekit.Options{Worker: "w2", Concurrency: 1}, working)
		ask := func(user string) error {
			_, err := s.SpamChecker.UserMayCreateRoom(t.Context(), &callbacksv1.UserMayCreateRoomRequest{UserId: user})
			return err
		}
		slow := make(chan error)
		go func() { slow <- ask("@slow:x") }()
		<-began
		for range 20 {
			if err := ask("@quick:x"); err != nil {
				t.Errorf("with one worker left: %v", err)
			}
		}
		go func() { slow <- ask("@slow:x") }()
		<-began
		if err := ask("@quick:x"); err == nil || err.Error() != "bus: spam_checker.user_may_create_room: module a failed: busy" {
			t.Errorf("with no worker left: %v", err)
		}
		close(free)
		for range 2 {
			if err := <-slow; err != nil {
				t.Error(err)
			}
		}
	})
}
