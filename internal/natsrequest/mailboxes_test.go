package natsrequest_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/subjects"
)

// stuck is a receiver that gets a reply and does not return, which stands for a module whose answers are not read as fast as they come.
type stuck struct {
	*receiver

	came, release chan struct{}
}

// Receive implements [natsrequest.Receiver].
func (s stuck) Receive(place int, m *nats.Msg) {
	s.came <- struct{}{}
	<-s.release
	s.receiver.Receive(place, m)
}

// flooded is a stage with a module whose answers are not read now, and another one, of which "b" and "c" were asked together.
type flooded struct {
	*batched
	*stuck

	other *receiver
	mine  *natsrequest.Batch
	first uint64 // the number of "b"
}

func newFlooded(t *testing.T) *flooded {
	t.Helper()
	f := &flooded{newBatched(t), &stuck{newReceiver(), make(chan struct{}, 16), make(chan struct{})}, newReceiver(), nil, 0}
	f.mine = f.Batch
	f.ask(f.stuck, "a", "never answered")
	_, first := f.taken(2)
	f.Batch = &natsrequest.Batch{Subject: byName, Answers: subjects.For(server).Answers("other", client), Most: 4, Route: f.mine.Route}
	f.ask(f.other, "b", "c")
	_, f.first = f.taken(2)
	f.answerAt(f.mine.Answers, batch.Answer{Number: first, Data: []byte("A")})
	await(t, f.came)
	t.Cleanup(func() { close(f.release) })
	return f
}

// flood sends answers of the module that is stuck, which nobody has asked for.
func (f *flooded) flood(messages, size int) {
	f.Helper()
	for range messages {
		f.answerAt(f.mine.Answers, batch.Answer{Number: 1, Data: make([]byte, size)})
	}
	if err := f.module.Flush(); err != nil {
		f.Fatal(err)
	}
}

func TestAnswersOfOneModuleDoNotWaitForThoseOfAnother(t *testing.T) {
	t.Parallel()
	f := newFlooded(t)
	f.flood(100, 64<<10)
	f.answer(batch.Answer{Number: f.first + 1, Data: []byte("C")})
	f.wants(f.other, map[int]string{1: "C"})
}

func TestAnswersOfOneModuleThatAreNotReadAreBounded(t *testing.T) {
	t.Parallel()
	f := newFlooded(t)
	for range 5 {
		f.flood(100, 64<<10)
	}
	f.answer(batch.Answer{Number: f.first + 1, Data: []byte("C")}) // When it has come, those before it have.
	f.wants(f.other, map[int]string{1: "C"})
	const most = 16 << 20
	if n := f.Unsorted(f.mine.Answers); n > most || n < most/2 {
		t.Errorf("%d bytes are kept of one module", n)
	}
}

// Eight modules flood at the same time, of which nothing is read, and a ninth answers what it is asked.
func TestAnswersOfAllModulesThatAreNotReadAreBounded(t *testing.T) {
	t.Parallel()
	f := &flooded{newBatched(t), &stuck{newReceiver(), make(chan struct{}, 16), make(chan struct{})}, newReceiver(), nil, 0}
	t.Cleanup(func() { close(f.release) })
	route := f.Route
	asks := func(module string, to natsrequest.Receiver) (first uint64) {
		f.Batch = &natsrequest.Batch{Subject: byName, Answers: subjects.For(server).Answers(module, client), Most: 4, Route: route}
		f.ask(to, "b", "c")
		_, first = f.taken(2)
		return first
	}
	flooding := map[string]uint64{}
	for i := range 8 {
		first := asks(fmt.Sprint("floods-", i), f.stuck)
		flooding[f.Answers] = first
	}
	f.first = asks("other", f.other)
	for answers, first := range flooding {
		f.answerAt(answers, batch.Answer{Number: first})
	}
	await(t, f.came) // It holds the others up, too.
	for answers := range flooding {
		f.mine = &natsrequest.Batch{Answers: answers}
		for range 5 {
			f.flood(50, 64<<10)
		}
	}
	f.answer(batch.Answer{Number: f.first + 1, Data: []byte("C")})
	f.wants(f.other, map[int]string{1: "C"})
	const most = 64 << 20
	if n := f.UnsortedTogether(); n > most+9*(64<<10) || n < most/2 {
		t.Errorf("%d bytes are kept", n)
	}
}

// What is read makes room.
func TestAnswersThatAreReadAreNotCounted(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	for range 100 {
		s.ask(r, "a", "b")
		_, first := s.taken(2)
		s.answer(batch.Answer{Number: first, Data: make([]byte, 8<<10)}, batch.Answer{Number: first + 1})
		await(t, r.replies)
		await(t, r.replies)
	}
	waittest.Until(t, "all is read", func() bool { return s.UnsortedTogether() == 0 && s.Unsorted(s.Answers) == 0 })
}

// A module can have JetStream send what it stores to any subject.
func TestAnswersFromAStreamTakeNoRoom(t *testing.T) {
	t.Parallel()
	f := newFlooded(t)
	m := nats.NewMsg(f.mine.Answers)
	m.Header.Set("Nats-Stream", "KV_another")
	m.Data = make([]byte, 64<<10)
	for range 300 {
		if err := f.module.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	f.answer(batch.Answer{Number: f.first + 1, Data: []byte("C")}) // When it has come, those before it have.
	f.wants(f.other, map[int]string{1: "C"})
	if n := f.Unsorted(f.mine.Answers); n > 0 {
		t.Errorf("%d bytes are kept of what a stream has sent", n)
	}
}

func TestAnswersOfModulesThatNobodyAsksAreKeptNowhere(t *testing.T) {
	t.Parallel()
	s := newBatched(t)
	for i := range 20 {
		r := newReceiver()
		s.Batch = &natsrequest.Batch{
			Subject: byName, Answers: subjects.For(server).Answers(fmt.Sprint("module-", i), client), Most: 4, Route: s.Route,
		}
		s.ask(r, "a", "b")
		_, first := s.taken(2)
		s.answer(batch.Answer{Number: first}, batch.Answer{Number: first + 1})
		s.wants(r, map[int]string{0: "", 1: ""})
		s.answerAt(subjects.For(server).Answers("stranger", client), batch.Answer{Number: first})
	}
	waittest.Until(t, "those that are asked no more are forgotten", func() bool {
		s.ask(newReceiver(), "x", "y")
		return len(s.Modules()) <= 2 && !slices.Contains(s.Modules(), subjects.For(server).Answers("stranger", client))
	})
}
