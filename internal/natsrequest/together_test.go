package natsrequest_test

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const byName = "module.question.worker"

// batched is a stage whose worker takes batches, and is known to.
type batched struct {
	*stage
	*natsrequest.Batch
	questions chan *nats.Msg // for the worker alone
	group     chan *nats.Msg // for any of the module
}

func batchTo(module string) *natsrequest.Batch {
	return &natsrequest.Batch{Subject: byName, Answers: subjects.For(server).Answers(module, client), Most: 4, Route: &natsrequest.Route{}}
}

func newBatched(t *testing.T) *batched {
	t.Helper()
	s := &batched{stage: newStage(t), Batch: batchTo("gate")}
	s.group, s.questions = s.stage.questions(subject), s.stage.questions(byName)
	s.prove()
	return s
}

// prove sends a request, so that the mux finds out that batches are answered.
func (s *batched) prove() {
	s.Helper()
	r := newReceiver()
	s.send(r, 0, natsrequest.Request{Subject: subject, Batch: s.Batch})
	probe := await(s.T, s.questions)
	first, all, err := batch.Questions(nil, probe.Data)
	if err != nil || len(all) > 0 || wire.Header(probe, wire.HeaderBatch) != s.Answers {
		s.Fatalf("the mux tries the way with %d questions, %v, %v", len(all), probe.Header, err)
	}
	s.answer(batch.Answer{Number: first})
	s.answer(batch.Answer{Number: first + 1}) // One that nobody waits for: it has come, and so has the one before.
	respond(s.T, await(s.T, s.group), "by itself")
	await(s.T, r.replies)
	s.settled()
}

// settled returns when the mux has taken in what was answered.
func (s *batched) settled() {
	s.Helper()
	waittest.Until(s, "the way is proven", s.Route.Proven)
}

func (s *batched) answer(all ...batch.Answer) { s.answerAt(s.Answers, all...) }

func (s *batched) answerAt(subject string, all ...batch.Answer) {
	s.Helper()
	var frame []byte
	for _, a := range all {
		frame = batch.AppendAnswer(frame, a)
	}
	if err := s.module.Publish(subject, frame); err != nil {
		s.Fatal(err)
	}
}

// ask sends requests that travel together, at places from 0 on, and returns their tickets.
func (s *batched) ask(to natsrequest.Receiver, texts ...string) (tickets []natsrequest.Ticket) {
	s.Helper()
	release := s.Hold()
	for i, text := range texts {
		tickets = append(tickets, s.send(to, i, natsrequest.Request{Subject: subject, Data: []byte(text), Batch: s.Batch}))
	}
	release()
	return tickets
}

// taken is the next message for the worker, of which the test wants so many questions.
func (s *batched) taken(want int) (m *nats.Msg, first uint64) {
	s.Helper()
	m = await(s.T, s.questions)
	first, all, err := batch.Questions(nil, m.Data)
	if err != nil || len(all) != want {
		s.Fatalf("%d questions travel together, not %d: %v", len(all), want, err)
	}
	return m, first
}

func (s *batched) wants(r *receiver, want map[int]string) {
	s.Helper()
	for range len(want) {
		got := await(s.T, r.replies)
		if text, ok := want[got.place]; !ok || string(got.msg.Data) != text {
			s.Errorf("got %q at place %d, want %v", got.msg.Data, got.place, want)
		}
		delete(want, got.place)
	}
}

func TestQuestionsThatWaitTravelTogether(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	s.ask(r, "a", "b", "c")
	_, first := s.taken(3)
	s.answer(batch.Answer{Number: first + 2, Data: []byte("C")}, batch.Answer{Number: first, Data: []byte("A")})
	s.answer(batch.Answer{Number: first + 1, Data: []byte("B")})
	s.wants(r, map[int]string{0: "A", 1: "B", 2: "C"})
	if n := s.Waiting(); n != 0 {
		t.Errorf("%d replies are waited for", n)
	}
}

func TestBatchHasAsManyQuestionsAsTheWorkerTakes(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	s.ask(r, "a", "b", "c", "d", "e")
	s.taken(int(s.Most))
	if q := await(t, s.group); string(q.Data) != "e" || len(q.Header) > 0 {
		t.Errorf("the last one came as %q with %v", q.Data, q.Header)
	}
}

func TestBatchAnswersFailures(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	s.ask(r, "a", "b")
	_, first := s.taken(2)
	s.answer(batch.Answer{Number: first, Failed: true, Code: "busy", Text: "later"})
	if f := wire.FailureOf(await(t, r.replies).msg); f == nil || f.Kind != rosterv1.FailureKind_BUSY || f.Text != "later" {
		t.Errorf("got %v", f)
	}
}

func TestAnswersCountOnceAndFromTheModuleThatWasAsked(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	s.ask(r, "a", "b")
	_, first := s.taken(2)
	forged := batch.Answer{Number: first, Data: []byte("forged")}
	s.answerAt(subjects.For(server).Answers("other", client), forged)
	s.answerAt(subjects.For(server).Answers("gate", "another-client"), forged)
	for range 2 {
		s.answer(batch.Answer{Number: first, Data: []byte("A")})
	}
	s.answer(batch.Answer{Number: first + 1, Data: []byte("B")}, batch.Answer{Number: first + 7, Data: []byte("C")})
	s.wants(r, map[int]string{0: "A", 1: "B"})
	s.passed(s.group, r)
}

func TestAnswersThatNobodyAskedForTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	if most := newStage(t).Unread(); len(most) != 2 || most[1] <= 0 {
		t.Errorf("%v bytes of replies, and of answers to batches, may wait", most)
	}
}

func TestBatchThatCannotBeReadAnswersNothing(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	s.ask(r, "a", "b")
	_, first := s.taken(2)
	cut := batch.AppendAnswer(batch.AppendAnswer(nil, batch.Answer{Number: first}), batch.Answer{Number: first + 1, Data: []byte("refuse")})
	if err := s.module.Publish(s.Answers, cut[:len(cut)-1]); err != nil {
		t.Fatal(err)
	}
	s.passed(s.group, r)
}

func TestBatchThatNobodyTakesComesBack(t *testing.T) {
	t.Parallel()
	for name, give := range map[string]func(s *batched){
		"nobody is there":         nil,
		"the worker takes none":   func(s *batched) { respond(s.T, await(s.T, s.questions), "what is this?") },
		"the answer comes to all": func(s *batched) { m, _ := s.taken(2); respond(s.T, m, ""); respond(s.T, m, "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := newBatched(t), newReceiver()
			if give == nil {
				s.Subject = "nobody"
			}
			s.ask(r, "a", "b")
			if give != nil {
				give(s)
			}
			for range 2 {
				if got := await(t, r.replies); got.msg != natsrequest.Alone {
					t.Errorf("got %v at place %d", got.msg, got.place)
				}
			}
			s.passed(s.group, r)
		})
	}
}

func TestQuestionsTravelAloneWhereBatchesAreNotAnswered(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	ticket := s.ask(r, "a", "b")[0]
	s.taken(2)
	s.Forget(ticket) // Its time is over, without an answer.
	s.ask(r, "c", "d")
	s.taken(0)
	for _, want := range []string{"c", "d"} {
		if q := await(t, s.group); string(q.Data) != want {
			t.Errorf("got %q, not %q", q.Data, want)
		}
	}
	s.ask(r, "e", "f") // It has been tried a moment ago.
	for range 2 {
		await(t, s.group)
	}
	if len(s.questions) > 0 {
		t.Error("the way was tried again at once")
	}
}

// Workers come and go, and one that hangs answers nothing.
func TestProbeThatIsNotAnsweredIsForgotten(t *testing.T) {
	t.Parallel()
	s, b := newStage(t), batchTo("gate")
	s.questions(subject)
	probes := s.questions(b.Subject)
	s.send(newReceiver(), 0, natsrequest.Request{Subject: subject, Batch: b})
	await(t, probes)
	if n := s.Probing(); n != 1 {
		t.Errorf("%d are waited for", n)
	}
	waittest.Until(t, "it is forgotten", func() bool { return s.Probing() == 0 })
}

func TestOnlySmallQuestionsInProtobufTravelTogether(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	release := s.Hold()
	for i, q := range []natsrequest.Request{
		{Data: make([]byte, 17<<10)}, {Data: []byte("{}"), JSON: true}, {Data: wire.Elsewhere, File: "file", Size: 1},
	} {
		q.Subject, q.Batch = subject, s.Batch
		s.send(r, i, q)
	}
	release()
	for range 3 {
		await(t, s.group)
	}
}

func TestCancelNamesAQuestionOfABatch(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	cancelled := s.stage.questions(cancels)
	tickets := s.ask(r, "a", "b")
	m, first := s.taken(2)
	s.Cancel(tickets[1], cancels)
	if got, want := string(await(t, cancelled).Data), string(batch.AppendName([]byte(m.Reply), 1)); got != want {
		t.Errorf("cancelled %q, and not %q", got, want)
	}
	s.answer(batch.Answer{Number: first + 1, Data: []byte("late")}, batch.Answer{Number: first, Data: []byte("A")})
	s.wants(r, map[int]string{0: "A"})
	s.passed(s.group, r)
}

func TestMuxCloseFailsWhatTravelsTogether(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	s.ask(r, "a", "b")
	s.taken(2)
	s.Close()
	for range 2 {
		if f := wire.FailureOf(await(t, r.replies).msg); f == nil || f.Kind != rosterv1.FailureKind_ABSENT {
			t.Errorf("got %v", f)
		}
	}
}

// What NATS loses, doubles and delays: each question has its own answer, or none.
func TestBatchesNeverMixAnswersUp(t *testing.T) {
	t.Parallel()
	s := newBatched(t)
	rapid.Check(t, func(t *rapid.T) {
		r := newReceiver()
		texts := rapid.SliceOfNDistinct(rapid.StringMatching("[a-z]{1,4}"), 2, int(s.Most), rapid.ID).Draw(t, "questions")
		s.ask(r, texts...)
		_, first := s.taken(len(texts))
		var sent []int
		for _, i := range rapid.SliceOf(rapid.IntRange(0, len(texts)-1)).Draw(t, "answers that come, in order") {
			s.answer(batch.Answer{Number: first + uint64(i), Data: []byte("re " + texts[i])})
			sent = append(sent, i)
		}
		slices.Sort(sent)
		for range slices.Compact(sent) {
			if got := await(s.T, r.replies); string(got.msg.Data) != "re "+texts[got.place] {
				t.Errorf("%q was answered %q", texts[got.place], got.msg.Data)
			}
		}
		s.passed(s.group, r)
	})
}
