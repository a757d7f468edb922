package responder_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	answersAt = "answers"
	wholeAt   = "_INBOX.x.1"
	firstOf   = 1 << 40
)

// bench is a responder that takes batches, and one who asks it.
type bench struct {
	*testing.T
	*responder.Responder
	nc      *nats.Conn
	answers chan *nats.Msg
	whole   chan *nats.Msg
}

func asFailure(t responder.Trouble) responder.Answer {
	kinds := map[responder.Cause]rosterv1.FailureKind{
		responder.Busy: rosterv1.FailureKind_BUSY, responder.Panicked: rosterv1.FailureKind_PANIC, responder.TooLarge: rosterv1.FailureKind_ERROR,
	}
	return responder.Answer{Header: (&wire.Failure{Kind: kinds[t.Cause], Text: t.Text}).Header()}
}

func newBench(t *testing.T, limit int, serve func(*responder.Responder, *nats.Msg) responder.Answer) *bench {
	t.Helper()
	home := natstest.InProcess(t)
	log := zerolog.Nop()
	b := &bench{T: t, nc: natstest.Connect(t, home), answers: make(chan *nats.Msg, 1<<10), whole: make(chan *nats.Msg, 8)}
	worker := natstest.Connect(t, home)
	b.Responder = responder.New(worker, responder.Options{
		Limit: limit, Spell: asFailure, Log: &log, Answers: func(at string) bool { return at == answersAt },
		Serve: func(m *nats.Msg) responder.Answer { return serve(b.Responder, m) },
	})
	err := b.Subscribe("work", "workers")
	if err == nil {
		err = b.Cancels("cancel")
	}
	if err == nil {
		err = worker.Flush()
	}
	for subject, to := range map[string]chan *nats.Msg{answersAt: b.answers, wholeAt: b.whole} {
		if _, failed := b.nc.ChanSubscribe(subject, to); failed != nil {
			err = failed
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { <-b.Drain(patience) })
	return b
}

// send sends questions in one message.
func (b *bench) send(answers string, data ...string) {
	b.Helper()
	frame := batch.Begin(nil, firstOf)
	for _, d := range data {
		frame = batch.AppendQuestion(frame, batch.Question{Data: []byte(d)})
	}
	b.sendFrame(answers, frame)
}

func (b *bench) sendFrame(answers string, frame []byte) {
	b.Helper()
	m := &nats.Msg{Subject: "work", Reply: wholeAt, Header: nats.Header{wire.HeaderBatch: {answers}}, Data: frame}
	if err := b.nc.PublishMsg(m); err != nil {
		b.Fatal(err)
	}
}

// take returns so many answers, by the place of their questions.
func (b *bench) take(n int) map[int]batch.Answer {
	b.Helper()
	got := map[int]batch.Answer{}
	for len(got) < n {
		select {
		case m := <-b.answers:
			all, err := batch.Answers(m.Data)
			if err != nil {
				b.Fatal(err)
			}
			for _, a := range all {
				got[int(a.Number-firstOf)] = a
			}
		case <-time.After(patience):
			b.Fatalf("%d of %d answers have come", len(got), n)
		}
	}
	return got
}

// echo answers in each way that there is.
func echo(_ *responder.Responder, m *nats.Msg) responder.Answer {
	switch data := string(m.Data); {
	case data == "panic":
		panic(data)
	case data == "large":
		return responder.Answer{Data: make([]byte, 2<<20)}
	case data == "failure":
		return responder.Answer{Header: (&wire.Failure{Kind: rosterv1.FailureKind_TIMEOUT, Text: "no time"}).Header()}
	case data == "silence":
		return responder.Answer{}
	case strings.HasPrefix(data, "long"):
		return responder.Answer{Data: []byte(strings.Repeat(data, 2<<10))}
	default:
		return responder.Answer{Data: []byte(m.Subject + " " + data)}
	}
}

func TestBatchIsAnsweredAsItsQuestionsAre(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1<<10, echo)
	kinds := rapid.OneOf(rapid.SampledFrom([]string{"panic", "large", "failure", "silence", "long-1", "long-2"}), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		questions := rapid.SliceOfN(kinds, 1, 64).Draw(t, "questions")
		b.send(answersAt, questions...)
		for i, a := range b.take(len(questions)) {
			alone, err := b.nc.Request("work", []byte(questions[i]), patience)
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("%v %q", wire.FailureOf(alone), alone.Data)
			together := &nats.Msg{Data: a.Data}
			if a.Failed {
				together.Header = nats.Header{wire.HeaderErrorCode: {a.Code}, wire.HeaderError: {a.Text}}
			}
			if got := fmt.Sprintf("%v %q", wire.FailureOf(together), together.Data); got != want {
				t.Errorf("%q is answered %s together, and %s alone", questions[i], got, want)
			}
		}
	})
}

// blocking blocks the questions "slow" until they are released.
func blocking(release <-chan struct{}) func(*responder.Responder, *nats.Msg) responder.Answer {
	return func(_ *responder.Responder, m *nats.Msg) responder.Answer {
		if string(m.Data) == "slow" {
			<-release
		}
		return responder.Answer{Data: m.Data}
	}
}

func TestSlowQuestionDelaysNoOtherOfItsBatch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		release := make(chan struct{})
		b := newBench(t, 64, blocking(release))
		questions := rapid.SliceOfN(rapid.SampledFrom([]string{"slow", "quick"}), 1, 64).Draw(r, "questions")
		slow := 0
		for _, q := range questions {
			if q == "slow" {
				slow++
			}
		}
		b.send(answersAt, questions...)
		for i, a := range b.take(len(questions) - slow) {
			if questions[i] != "quick" || string(a.Data) != "quick" {
				t.Errorf("question %d, %s, was answered %q", i, questions[i], a.Data)
			}
		}
		close(release)
		b.take(slow)
	})
}

func TestBatchPastTheLimitIsAnsweredBusy(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b := newBench(t, 2, blocking(release))
	b.send(answersAt, "slow", "slow", "slow", "slow")
	for i, a := range b.take(2) {
		if !a.Failed || a.Code != "busy" {
			t.Errorf("question %d was answered %v", i, a)
		}
	}
	close(release)
	for i, a := range b.take(2) {
		if a.Failed {
			t.Errorf("question %d was answered %v", i, a)
		}
	}
}

func TestOneQuestionOfABatchIsCancelled(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 3)
	b := newBench(t, 8, func(r *responder.Responder, m *nats.Msg) responder.Answer {
		ctx := r.Begin(m.Reply, time.Hour)
		defer ctx.End()
		begun <- struct{}{}
		<-ctx.Done()
		return responder.Answer{Data: m.Data}
	})
	b.send(answersAt, "a", "b", "c")
	for range 3 {
		<-begun
	}
	for _, place := range []int{1, 2, 0} {
		if err := b.nc.Publish("cancel", batch.AppendName([]byte(wholeAt), place)); err != nil {
			t.Fatal(err)
		}
		if got := slices.Collect(maps.Keys(b.take(1))); !slices.Equal(got, []int{place}) {
			t.Errorf("%v ended when %d was cancelled", got, place)
		}
	}
}

func TestBatchThatCannotBeAnsweredIsGivenBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, 8, func(*responder.Responder, *nats.Msg) responder.Answer {
		t.Error("a question was served")
		return responder.Answer{}
	})
	frame := batch.AppendQuestion(batch.Begin(nil, firstOf), batch.Question{Data: []byte("a")})
	b.sendFrame("somebody.elses", frame)
	b.sendFrame(answersAt, frame[:len(frame)-1])
	b.sendFrame(answersAt, nil)
	for range 3 {
		if f := wire.FailureOf(<-b.whole); f == nil {
			t.Error("it was not given back as a failure")
		}
	}
}

func TestBatchWithoutQuestionsIsAnswered(t *testing.T) {
	t.Parallel()
	b := newBench(t, 8, echo)
	b.send(answersAt)
	if a := b.take(1)[0]; a.Failed || len(a.Data) > 0 {
		t.Errorf("it was answered %v", a)
	}
}

func TestBatchFromAStreamIsIgnored(t *testing.T) {
	t.Parallel()
	b := newBench(t, 8, func(_ *responder.Responder, m *nats.Msg) responder.Answer {
		if string(m.Data) == "forged" {
			t.Error("a forged question was served")
		}
		return responder.Answer{}
	})
	frame := batch.AppendQuestion(batch.Begin(nil, firstOf), batch.Question{Data: []byte("forged")})
	err := b.nc.PublishMsg(&nats.Msg{
		Subject: "work", Reply: wholeAt, Header: nats.Header{wire.HeaderBatch: {answersAt}, "Nats-Stream": {"S"}}, Data: frame,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.send(answersAt, "after it")
	b.take(1)
}

func TestDrainSendsTheAnswersOfABatch(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b := newBench(t, 64, blocking(release))
	b.send(answersAt, "slow", "quick", "slow", "quick", "slow")
	b.take(2)
	ended := b.Drain(patience)
	close(release)
	<-ended
	b.take(3)
}
