package bus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// patient is a client of one module that may take a second, and is left alone for ten after three timeouts in a row. What
// the module does is up to *reply: with nil, nothing.
func patient(t *testing.T, reply **nats.Msg) (*bus.Client, *sim) {
	i := &rosterv1.Interest{TimeoutMs: 1000, BreakerFailures: 3, BreakerOpenMs: 10_000, OnFailure: skip}
	return simulated(t, func(*exchange) []arrival {
		if *reply == nil {
			return nil
		}
		return []arrival{{0, *reply}}
	}, module(mayCreate, "a", i))
}

// becomes asks, and wants the module to fail like that, or with 0 not to fail.
func becomes(t *testing.T, c *bus.Client, want rosterv1.FailureKind) {
	t.Helper()
	got, took, err := ask(t.Context(), c)
	var kind rosterv1.FailureKind
	if len(got.Failures) > 0 {
		kind = got.Failures[0].Kind
	}
	if err != nil || kind != want || kind == open && took != 0 {
		t.Errorf("%v, %v after %v; want %v", got, err, took, want)
	}
}

const open = rosterv1.FailureKind_BREAKER_OPEN

// after lets time pass in a bubble.
func after(d time.Duration) { <-time.After(d) }

func TestModuleThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reply *nats.Msg
		c, line := patient(t, &reply)
		becomes(t, c, timeout)
		becomes(t, c, timeout)
		reply = &nats.Msg{}
		becomes(t, c, 0) // An answer in between: they are not in a row.
		reply = nil
		for range 3 {
			becomes(t, c, timeout)
		}
		before := len(line.log)
		becomes(t, c, open)
		after(9 * time.Second)
		becomes(t, c, open)
		if len(line.log) != before {
			t.Error("the module was asked while it is left alone")
		}
		after(2 * time.Second)
		becomes(t, c, timeout) // One tries, in vain.
		becomes(t, c, open)
		after(11 * time.Second)
		reply = data(denied("A"))
		becomes(t, c, 0) // One tries, and all is well again.
		becomes(t, c, 0)
		reply = nil
		for range 3 {
			becomes(t, c, timeout)
		}
		becomes(t, c, open)
	})
}

func TestBreakerCountsOnlyTimeouts(t *testing.T) {
	t.Parallel()
	for _, m := range []*nats.Msg{failure(failed), failure(panicked), failure(busy), gone, {Data: []byte("\xff")}} {
		synctest.Test(t, func(t *testing.T) {
			reply := m
			c, line := patient(t, &reply)
			for range 10 {
				_, _, _ = ask(t.Context(), c)
			}
			if len(line.log) != 10 {
				t.Errorf("%v: of 10 asks, the module got %d", m.Header, len(line.log))
			}
			// Nor do they make up for timeouts.
			reply = nil
			becomes(t, c, timeout)
			becomes(t, c, timeout)
			reply = m
			_, _, _ = ask(t.Context(), c)
			reply = nil
			becomes(t, c, timeout)
			becomes(t, c, open)
		})
	}
}

func TestBreakerCountsAllTimeoutsAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reply *nats.Msg
		c, _ := patient(t, &reply)
		var asks sync.WaitGroup
		for range 3 {
			asks.Go(func() { becomes(t, c, timeout) })
		}
		asks.Wait()
		becomes(t, c, open)
	})
}

// A caller with little time says nothing about the module.
func TestBreakerIgnoresTinyDeadlinesOfCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reply *nats.Msg
		c, _ := patient(t, &reply)
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if got, took, err := ask(ctx, c); err != nil || got.Failures[0].Kind != timeout || took != time.Millisecond {
				t.Errorf("%v, %v after %v", got, err, took)
			}
			cancel()
		}
		becomes(t, c, timeout)
	})
}

func TestBreakerTriesOneAskAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reply *nats.Msg
		c, _ := patient(t, &reply)
		for range 3 {
			becomes(t, c, timeout)
		}
		after(11 * time.Second)
		var trial sync.WaitGroup
		trial.Go(func() { becomes(t, c, timeout) })
		synctest.Wait()
		becomes(t, c, open)
		trial.Wait()
	})
}

// Callers go away whatever their ask is a trial of; another ask tries then.
func TestBreakerRepeatsATrialThatWasGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reply *nats.Msg
		c, line := patient(t, &reply)
		for range 3 {
			becomes(t, c, timeout)
		}
		after(11 * time.Second)
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			if _, _, err := ask(ctx, c); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
			if _, _, err := ask(ctx, c); err != nil {
				t.Error(err)
			}
			cancel()
		}
		if got := len(line.log); got != 9 {
			t.Errorf("the module was asked %d times, want 3 and then 6", got)
		}
		reply = &nats.Msg{}
		becomes(t, c, 0)
		becomes(t, c, 0)
	})
}

func TestBreakerIsOffUnlessTheRosterSaysOtherwise(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := simulated(t, then(), module(mayCreate, "a", &rosterv1.Interest{OnFailure: skip}))
		for range 10 {
			becomes(t, c, timeout)
		}
	})
}

func TestBreakerOutlivesARosterButNotItsTerms(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reply *nats.Msg
		c, _ := patient(t, &reply)
		for range 3 {
			becomes(t, c, timeout)
		}
		roster := proto.CloneOf(c.Roster())
		roster.Revision, roster.Modules[0].Workers = 2, []string{"w0"}
		c.SetRoster(roster)
		becomes(t, c, open)

		roster = proto.CloneOf(roster)
		roster.Revision, roster.Modules[0].Callbacks[0].BreakerFailures = 3, 2
		c.SetRoster(roster)
		becomes(t, c, timeout)
		becomes(t, c, timeout)
		becomes(t, c, open)

		roster = proto.CloneOf(roster)
		roster.Revision, roster.Modules[0].Callbacks[0].BreakerFailures = 4, 0
		c.SetRoster(roster)
		becomes(t, c, timeout)
	})
}

// TestLogTellsOfBreakersThatOpenAndClose has a module that does not answer, and answers again.
func TestLogTellsOfBreakersThatOpenAndClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reply *nats.Msg
		log := &waittest.Log{}
		logger := zerolog.New(log)
		s := &sim{script: func(*exchange) []arrival {
			if reply == nil {
				return nil
			}
			return []arrival{{0, reply}}
		}}
		i := &rosterv1.Interest{TimeoutMs: 1000, BreakerFailures: 2, BreakerOpenMs: 10_000, OnFailure: skip}
		r := &rosterv1.Roster{Revision: 1, BudgetMs: 60_000, Modules: []*rosterv1.Module{module(mayCreate, "a", i)}}
		ctx := busopts.With(t.Context(), busopts.Client{Requester: s, Roster: r})
		c, err := bus.New(ctx, nil, bus.Options{ServerName: serverName, Log: &logger})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		becomes(t, c, timeout)
		if log.Has("breaker") {
			t.Errorf("one failure opens no breaker:\n%s", log)
		}
		becomes(t, c, timeout)
		becomes(t, c, open)
		opened := `{"level":"warn","callback":"` + mayCreate.FullName() + `","module":"a","message":"breaker opened: the module did not answer in time, and is left alone for 10s"}`
		if log.Count(opened) != 1 || log.Has("breaker closed") {
			t.Errorf("the log has not once %s:\n%s", opened, log)
		}
		after(11 * time.Second)
		reply = &nats.Msg{}
		becomes(t, c, 0)
		becomes(t, c, 0)
		closed := `{"level":"info","callback":"` + mayCreate.FullName() + `","module":"a","message":"breaker closed: the module answers again"}`
		if log.Count(closed) != 1 || log.Count("breaker opened") != 1 {
			t.Errorf("the log has not once %s:\n%s", closed, log)
		}
	})
}
