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

// stage is a responder that takes batches, and a connection that asks it.
type stage struct {
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

func newStage(t *testing.T, limit int, serve func(*responder.Responder, *nats.Msg) responder.Answer) *stage {
	t.Helper()
	home := natstest.InProcess(t)
	log := zerolog.Nop()
	s := &stage{T: t, nc: natstest.Connect(t, home), answers: make(chan *nats.Msg, 1<<10), whole: make(chan *nats.Msg, 8)}
	worker := natstest.Connect(t, home)
	s.Responder = responder.New(worker, responder.Options{
		Limit: limit, Spell: asFailure, Log: &log, Answers: func(at string) bool { return at == answersAt },
		Serve: func(m *nats.Msg) responder.Answer { return serve(s.Responder, m) },
	})
	err := s.Subscribe("work", "workers")
	if err == nil {
		err = s.Cancels("cancel")
	}
	if err == nil {
		err = worker.Flush()
	}
	for subject, to := range map[string]chan *nats.Msg{answersAt: s.answers, wholeAt: s.whole} {
		if _, failed := s.nc.ChanSubscribe(subject, to); failed != nil {
			err = failed
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { <-s.Drain(patience) })
	return s
}

// send sends questions in one message.
func (s *stage) send(answers string, data ...string) {
	s.Helper()
	frame := batch.Begin(nil, firstOf)
	for _, d := range data {
		frame = batch.AppendQuestion(frame, batch.Question{Data: []byte(d)})
	}
	s.sendFrame(answers, frame)
}

func (s *stage) sendFrame(answers string, frame []byte) {
	s.Helper()
	m := &nats.Msg{Subject: "work", Reply: wholeAt, Header: nats.Header{wire.HeaderBatch: {answers}}, Data: frame}
	if err := s.nc.PublishMsg(m); err != nil {
		s.Fatal(err)
	}
}

// take returns so many answers, by the place of their questions.
func (s *stage) take(n int) map[int]batch.Answer {
	s.Helper()
	got := map[int]batch.Answer{}
	for len(got) < n {
		select {
		case m := <-s.answers:
			all, err := batch.Answers(nil, m.Data)
			if err != nil {
				s.Fatal(err)
			}
			for _, a := range all {
				got[int(a.Number-firstOf)] = a
			}
		case <-time.After(patience):
			s.Fatalf("%d of %d answers have come", len(got), n)
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
	s := newStage(t, 1<<10, echo)
	kinds := rapid.OneOf(rapid.SampledFrom([]string{"panic", "large", "failure", "silence", "long-1", "long-2"}), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		questions := rapid.SliceOfN(kinds, 1, 64).Draw(t, "questions")
		s.send(answersAt, questions...)
		for i, a := range s.take(len(questions)) {
			alone, err := s.nc.Request("work", []byte(questions[i]), patience)
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
		s := newStage(t, 64, blocking(release))
		questions := rapid.SliceOfN(rapid.SampledFrom([]string{"slow", "quick"}), 1, 64).Draw(r, "questions")
		slow := 0
		for _, q := range questions {
			if q == "slow" {
				slow++
			}
		}
		s.send(answersAt, questions...)
		for i, a := range s.take(len(questions) - slow) {
			if questions[i] != "quick" || string(a.Data) != "quick" {
				t.Errorf("question %d, %s, was answered %q", i, questions[i], a.Data)
			}
		}
		close(release)
		s.take(slow)
	})
}

func TestBatchPastTheLimitIsAnsweredBusy(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := newStage(t, 2, blocking(release))
	s.send(answersAt, "slow", "slow", "slow", "slow")
	for i, a := range s.take(2) {
		if !a.Failed || a.Code != "busy" {
			t.Errorf("question %d was answered %v", i, a)
		}
	}
	close(release)
	for i, a := range s.take(2) {
		if a.Failed {
			t.Errorf("question %d was answered %v", i, a)
		}
	}
}

func TestOneQuestionOfABatchIsCancelled(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 3)
	s := newStage(t, 8, func(r *responder.Responder, m *nats.Msg) responder.Answer {
		ctx := r.Begin(m.Reply, time.Hour)
		defer ctx.End()
		begun <- struct{}{}
		<-ctx.Done()
		return responder.Answer{Data: m.Data}
	})
	s.send(answersAt, "a", "b", "c")
	for range 3 {
		<-begun
	}
	for _, place := range []int{1, 2, 0} {
		if err := s.nc.Publish("cancel", batch.AppendName([]byte(wholeAt), place)); err != nil {
			t.Fatal(err)
		}
		if got := slices.Collect(maps.Keys(s.take(1))); !slices.Equal(got, []int{place}) {
			t.Errorf("%v ended when %d was cancelled", got, place)
		}
	}
}

func TestBatchThatCannotBeAnsweredIsGivenBack(t *testing.T) {
	t.Parallel()
	s := newStage(t, 8, func(*responder.Responder, *nats.Msg) responder.Answer {
		t.Error("a question was served")
		return responder.Answer{}
	})
	frame := batch.AppendQuestion(batch.Begin(nil, firstOf), batch.Question{Data: []byte("a")})
	s.sendFrame("somebody.elses", frame)
	s.sendFrame(answersAt, frame[:len(frame)-1])
	s.sendFrame(answersAt, nil)
	for range 3 {
		if f := wire.FailureOf(<-s.whole); f == nil {
			t.Error("it was not given back as a failure")
		}
	}
}

func TestBatchWithoutQuestionsIsAnswered(t *testing.T) {
	t.Parallel()
	s := newStage(t, 8, echo)
	s.send(answersAt)
	if a := s.take(1)[0]; a.Failed || len(a.Data) > 0 {
		t.Errorf("it was answered %v", a)
	}
}

func TestBatchFromAStreamIsIgnored(t *testing.T) {
	t.Parallel()
	s := newStage(t, 8, func(_ *responder.Responder, m *nats.Msg) responder.Answer {
		if string(m.Data) == "forged" {
			t.Error("a forged question was served")
		}
		return responder.Answer{}
	})
	frame := batch.AppendQuestion(batch.Begin(nil, firstOf), batch.Question{Data: []byte("forged")})
	err := s.nc.PublishMsg(&nats.Msg{
		Subject: "work", Reply: wholeAt, Header: nats.Header{wire.HeaderBatch: {answersAt}, "Nats-Stream": {"S"}}, Data: frame,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.send(answersAt, "after it")
	s.take(1)
}

func TestDrainSendsTheAnswersOfABatch(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := newStage(t, 64, blocking(release))
	s.send(answersAt, "slow", "quick", "slow", "quick", "slow")
	s.take(2)
	ended := s.Drain(patience)
	close(release)
	<-ended
	s.take(3)
}
