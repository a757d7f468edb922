package bus_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// shadowed is a client with the module "gate", which is silent, and before it "next" in shadow. It hands on the modules of
// each trace when all of them have spoken.
func shadowed(t *testing.T, script func(*exchange) []arrival, d *subjects.Declaration, asked ...string) (*bus.Client, *sim, <-chan []bus.ModuleTrace) {
	t.Helper()
	traces := make(chan []bus.ModuleTrace, 1000)
	observe := func(tr *bus.Trace) {
		if tr.AwaitShadows == nil {
			traces <- append([]bus.ModuleTrace(nil), tr.Modules...)
			return
		}
		tr.AwaitShadows(func(modules []bus.ModuleTrace) { traces <- modules })
	}
	s := &sim{script: script}
	roster := &rosterv1.Roster{
		Revision: 1, BudgetMs: 60_000,
		Modules: []*rosterv1.Module{module(d, "gate", &rosterv1.Interest{TimeoutMs: 1000, OnFailure: skip})},
		Shadows: []*rosterv1.Shadow{{Module: module(d, "next", &rosterv1.Interest{TimeoutMs: 5000, OnFailure: refuse}), Asked: asked}},
	}
	ctx := busopts.With(t.Context(), busopts.Client{Requester: s, Roster: roster})
	c, err := bus.New(ctx, nil, bus.Options{ServerName: serverName, Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, s, traces
}

// saysNothing is a reply without an opinion.
var saysNothing = &nats.Msg{}

// scripted has the module in shadow reply so, and all others at once with nothing.
func scripted(next arrival) func(*exchange) []arrival {
	return func(x *exchange) []arrival {
		if x.module == "next" {
			return []arrival{next}
		}
		return []arrival{{0, saysNothing}}
	}
}

func TestShadowNeverCountsAndNeverDelays(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]arrival{
		"it refuses": {3 * time.Second, data(denied("NEXT"))}, "it fails": {0, failure(failed)}, "it says nothing": {time.Hour, saysNothing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, _, traces := shadowed(t, scripted(next), mayCreate, mayCreate.FullName())
				start := time.Now()
				d, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{UserId: "@a:x"})
				if err != nil || d.Answer != nil || len(d.Failures) > 0 || time.Since(start) > 0 {
					t.Errorf("after %v: %v %+v", time.Since(start), err, d)
				}
				modules := <-traces
				if modules[0].Module != "next" || !modules[0].Shadow || modules[0].Counted || modules[0].Said == bus.SaidNothing {
					t.Errorf("in shadow: %+v", modules[0])
				}
				if len(modules) != 2 || modules[1].Shadow || !modules[1].Counted {
					t.Errorf("all: %+v", modules)
				}
			})
		})
	}
}

func TestShadowIsAskedWhenTheAskIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s, traces := shadowed(t, scripted(arrival{0, saysNothing}), mayCreate, mayCreate.FullName())
		if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil {
			t.Fatal(err)
		}
		if before := len(s.of("next")); before > 0 {
			t.Error("it was asked before the answer was there")
		}
		if <-traces; len(s.of("next")) != 1 {
			t.Error("it was not asked")
		}
	})
}

// A module in shadow that answers at once is asked all, however many asks come in one moment.
func TestShadowThatAnswersAtOnceIsAskedAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _, traces := shadowed(t, scripted(arrival{0, saysNothing}), mayCreate, mayCreate.FullName())
		const asks = 600
		for range asks {
			if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // What can go on has gone on, and no time has passed.
		}
		for range asks {
			if modules := <-traces; len(modules) != 2 {
				t.Fatalf("not all were asked: %+v", modules)
			}
		}
	})
}

// A client that is closed asks nobody any more, and the ask that nobody repeated is known nevertheless.
func TestCloseHandsOnAsksThatWereToBeRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s, traces := shadowed(t, scripted(arrival{0, saysNothing}), mayCreate, mayCreate.FullName())
		if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if modules := <-traces; len(modules) != 1 || modules[0].Module != "gate" || len(s.of("next")) > 0 {
			t.Errorf("%+v, and next was asked %d times", modules, len(s.of("next")))
		}
	})
}

// A file that a request brings is there until the ask is over.
func TestShadowIsAskedAboutAFileWhileItIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		check := subjects.CheckMediaFileForSpam.Declaration
		c, s, traces := shadowed(t, func(x *exchange) []arrival {
			if x.module == "gate" {
				return []arrival{{time.Second, saysNothing}}
			}
			return []arrival{{0, saysNothing}}
		}, check, check.FullName())
		before := make(chan int, 1)
		time.AfterFunc(500*time.Millisecond, func() { before <- len(s.of("next")) })
		ctx := bus.WithFile(t.Context(), strings.NewReader("file"), 4)
		if _, err := c.SpamChecker.CheckMediaFileForSpam(ctx, &callbacksv1.CheckMediaFileForSpamRequest{}); err != nil {
			t.Fatal(err)
		}
		if n := <-before; n != 1 {
			t.Errorf("it was asked %d times before the ask was over", n)
		}
		<-traces
	})
}

// A homeserver may recover from what its observer panics with.
func TestObserverThatPanicsHoldsUpNoClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		check := subjects.CheckMediaFileForSpam.Declaration
		s := &sim{script: scripted(arrival{0, saysNothing})}
		roster := &rosterv1.Roster{
			Revision: 1, BudgetMs: 60_000,
			Shadows: []*rosterv1.Shadow{{Module: module(check, "next", &rosterv1.Interest{OnFailure: skip}), Asked: []string{check.FullName()}}},
		}
		ctx := busopts.With(t.Context(), busopts.Client{Requester: s, Roster: roster})
		c, err := bus.New(ctx, nil, bus.Options{ServerName: serverName, Observe: func(*bus.Trace) { panic("observer") }})
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() { _ = recover() }()
			_, err := c.SpamChecker.CheckMediaFileForSpam(bus.WithFile(ctx, strings.NewReader("file"), 4), &callbacksv1.CheckMediaFileForSpamRequest{})
			t.Errorf("the panic is gone: %v", err)
		}()
		c.Close()
		if n := len(s.of("next")); n != 1 {
			t.Errorf("the module in shadow was asked %d times", n)
		}
	})
}

func TestShadowIsAskedWhatItMayBeAskedAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, asked := range [][]string{nil, {mayCreate.FullName()}} {
		synctest.Test(t, func(t *testing.T) {
			c, s, traces := shadowed(t, scripted(arrival{0, saysNothing}), mayCreate, asked...)
			if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil {
				t.Fatal(err)
			}
			<-traces
			if got := len(s.of("next")); got != len(asked) {
				t.Errorf("of %v, it was asked %d times", asked, got)
			}
		})
	}
}

// What modules in shadow are asked needs memory until they answer, and there is a bound to it.
func TestShadowIsNotAskedWhereTooManyAsksWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s, traces := shadowed(t, scripted(arrival{time.Hour, saysNothing}), mayCreate, mayCreate.FullName())
		const asks = 300
		var group sync.WaitGroup
		for range asks {
			group.Go(func() {
				if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		got := map[int]int{}
		for range asks {
			got[len(<-traces)]++
		}
		if diff := cmp.Diff(map[int]int{2: 256, 1: asks - 256}, got); diff != "" || len(s.of("next")) != 256 {
			t.Errorf("traces by their modules: %s, asked %d", diff, len(s.of("next")))
		}
	})
}
