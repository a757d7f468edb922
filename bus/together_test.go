package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// throng is a homeserver with a module, and 64 who ask it until some of their questions have travelled together.
type throng struct {
	*stage

	batches atomic.Int64 // messages with several questions
}

func newThrong(t *testing.T, o modulekit.Options, answer func(context.Context, *question) (*verdict, error)) *throng {
	t.Helper()
	gate := entry("gate")
	gate.OnFailure = &config.Policy{Local: config.Skip, Federated: config.Skip}
	c := &throng{stage: newStage(t, natstest.InProcess(t), gate)}
	o.Worker = "w"
	c.runWith("gate", o, func(api *modulekit.ModuleAPI) {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{UserMayCreateRoom: answer})
	})
	subject := names.Worker(mayCreate, "gate", "w")
	_, err := natstest.Connect(t, c.home).Subscribe(subject, func(m *nats.Msg) {
		if wire.Header(m, wire.HeaderBatch) != "" && len(m.Data) > 9 { // One without a question only finds out.
			c.batches.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	natstest.AwaitInterest(t, c.home, subject)
	return c
}

// run has each of them ask as often as it takes, with a name for each question.
func (c *throng) run(ask func(name string)) {
	var asking sync.WaitGroup
	for i := range 64 {
		asking.Go(func() {
			for n := 0; n < 20 || c.batches.Load() == 0 && n < 100_000; n++ {
				ask(fmt.Sprintf("%d-%d", i, n))
			}
		})
	}
	asking.Wait()
	if c.batches.Load() == 0 {
		c.t.Error("no questions travelled together")
	}
}

func TestQuestionsThatTravelTogetherHaveAnswersOfTheirOwn(t *testing.T) {
	t.Parallel()
	c := newThrong(t, modulekit.Options{}, func(_ context.Context, q *question) (*verdict, error) {
		switch name := q.GetUserId(); name[len(name)-1] {
		case '0', '1', '2':
			return nil, nil
		case '3':
			return nil, errors.New(name)
		case '4':
			panic(name)
		default:
			return &verdict{Refusal: &callbacksv1.Refusal{Errcode: "M_" + name}}, nil
		}
	})
	c.run(func(name string) {
		got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{UserId: name})
		said := got.Answer.GetRefusal().GetErrcode()
		if len(got.Failures) > 0 {
			said = got.Failures[0].Kind.String()
		}
		want, ok := map[byte]string{'0': "", '1': "", '2': "", '3': "ERROR", '4': "PANIC"}[name[len(name)-1]]
		if !ok {
			want = "M_" + name
		}
		if said != want || err != nil {
			t.Errorf("%s was answered %q, %v, not %q", name, said, err, want)
		}
	})
	if n := c.Waiting(); n != 0 {
		t.Errorf("%d replies are still waited for", n)
	}
}

// A worker that takes few at a time is never sent more in one message, and what it refuses is not lost.
func TestQuestionsThatTravelTogetherAreAsManyAsTheWorkerServes(t *testing.T) {
	t.Parallel()
	var most, now atomic.Int64
	c := newThrong(t, modulekit.Options{Concurrency: 3}, func(context.Context, *question) (*verdict, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		return &verdict{Refusal: &callbacksv1.Refusal{Errcode: "M_X"}}, nil
	})
	c.run(func(name string) {
		got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{UserId: name})
		refused := got.Answer.GetRefusal() != nil
		if err != nil || refused == (len(got.Failures) > 0) || !refused && got.Failures[0].Kind != busy {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	})
	if most.Load() > 3 {
		t.Errorf("%d questions were served at once", most.Load())
	}
}

// One that gives up, and one that is slow, cost the others of their batch nothing.
func TestCallerThatGivesUpEndsOnlyItsOwnQuestion(t *testing.T) {
	t.Parallel()
	ended, begun := make(chan string, 1), make(chan struct{})
	c := newThrong(t, modulekit.Options{}, func(ctx context.Context, q *question) (*verdict, error) {
		if q.GetUserId() == "slow" {
			close(begun)
			<-ctx.Done()
			ended <- q.GetUserId()
		}
		return nil, ctx.Err()
	})
	ctx, giveUp := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	var once sync.Once
	c.run(func(name string) {
		once.Do(func() {
			go func() {
				_, err := c.SpamChecker.UserMayCreateRoom(ctx, &question{UserId: "slow"})
				gaveUp <- err
			}()
		})
		got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{UserId: name})
		if err != nil || len(got.Failures) > 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	})
	<-begun
	giveUp()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) || <-ended != "slow" {
		t.Errorf("got %v", err)
	}
}
