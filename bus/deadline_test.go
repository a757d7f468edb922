package bus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/bus/bustest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestModulesNotHeardInTimeHaveTheirOwnPolicies(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		modules []bustest.Script
		answer  *verdict
		failed  string
	}{
		"all are skipped":           {[]bustest.Script{thinks("a").OnFailure(skip), thinks("b").OnFailure(skip)}, nil, ""},
		"the last one refuses":      {[]bustest.Script{thinks("a").OnFailure(skip), thinks("b").OnFailure(refuse)}, cannotBeAsked("b"), ""},
		"the last one fails":        {[]bustest.Script{thinks("a").OnFailure(skip), thinks("b").OnFailure(fail)}, nil, "b"},
		"one is skipped, one heard": {[]bustest.Script{thinks("a").OnFailure(skip), denies("b")}, denied("b"), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within := soon
			if tt.answer.GetRefusal().GetErrcode() == "b" {
				within = time.Second // So that b is heard of.
			}
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			got, err := bustest.New(t, tt.modules...).SpamChecker.UserMayCreateRoom(ctx, &question{})
			if diff := cmp.Diff(tt.answer, got.Answer, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			failure := &bus.Error{}
			if (err != nil) != (tt.failed != "") || err != nil && (!errors.As(err, &failure) || failure.Module != tt.failed || failure.Kind != timeout) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What is asked one after the other runs out of time before all are asked.
func TestModuleNotAskedInTimeHasTimedOut(t *testing.T) {
	t.Parallel()
	var asked sync.Map
	module := func(name string) bustest.Script {
		return bustest.Func(subjects.CheckEventAllowed, func(ctx context.Context, _ *callbacksv1.CheckEventAllowedRequest) (*callbacksv1.CheckEventAllowedResponse, error) {
			asked.Store(name, true)
			<-ctx.Done()
			return nil, nil
		}).By(name).OnFailure(skip)
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	c := bustest.New(t, module("a"), module("b").OnFailure(refuse), module("c").OnFailure(fail))
	got, err := c.ThirdPartyRules.CheckEventAllowed(ctx, &callbacksv1.CheckEventAllowedRequest{})
	want := []bus.Failure{{Module: "a", Kind: timeout, Policy: skip}, {Module: "b", Kind: timeout, Policy: refuse}}
	if diff := cmp.Diff(want, got.Failures, wordless); diff != "" || err != nil || got.DecidedBy != "b" {
		t.Errorf("%v decided, %v (-want +got):\n%s", got.DecidedBy, err, diff)
	}
	if _, ok := asked.Load("b"); ok {
		t.Error("b was asked while a thought")
	}
}

func TestCancelledAskReturnsAtOnceAndForgetsReplies(t *testing.T) {
	t.Parallel()
	asked, forgotten := make(chan struct{}), make(chan struct{})
	c := bustest.New(t, bustest.Func(subjects.UserMayCreateRoom, func(ctx context.Context, _ *question) (*verdict, error) {
		close(asked)
		<-ctx.Done()
		close(forgotten)
		return denied("late"), nil
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	got, err := c.SpamChecker.UserMayCreateRoom(ctx, &question{})
	if !errors.Is(err, context.Canceled) || got.Answer != nil || got.Failures != nil {
		t.Errorf("got %v, %v", got, err)
	}
	<-forgotten
}

func TestCallerThatIsGoneAsksNobody(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := bustest.New(t, bustest.Func(subjects.UserMayCreateRoom, func(context.Context, *question) (*verdict, error) {
		t.Error("a module was asked")
		return nil, nil
	}))
	if _, err := c.SpamChecker.UserMayCreateRoom(ctx, &question{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
