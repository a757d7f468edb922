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

// batched is a world whose worker takes batches, and is known to.
type batched struct {
	*world
	*natsrequest.Batch
	questions chan *nats.Msg // for the worker alone
	group     chan *nats.Msg // for any of the module
}

func batchTo(module string) *natsrequest.Batch {
	return &natsrequest.Batch{Subject: byName, Answers: subjects.For(server).Answers(module, client), Most: 4, Route: &natsrequest.Route{}}
}

func newBatched(t *testing.T) *batched {
	t.Helper()
	w := &batched{world: newWorld(t), Batch: batchTo("gate")}
	w.group, w.questions = w.world.questions(subject), w.world.questions(byName)
	w.prove()
	return w
}

// prove sends a request, so that the mux finds out that batches are answered.
func (w *batched) prove() {
	w.Helper()
	r := newReceiver()
	w.send(r, 0, natsrequest.Request{Subject: subject, Batch: w.Batch})
	probe := await(w.T, w.questions)
	first, all, err := batch.Questions(probe.Data)
	if err != nil || len(all) > 0 || wire.Header(probe, wire.HeaderBatch) != w.Answers {
		w.Fatalf("the mux tries the way with %d questions, %v, %v", len(all), probe.Header, err)
	}
	w.answer(batch.Answer{Number: first})
	w.answer(batch.Answer{Number: first + 1}) // One that nobody waits for: it has come, and so has the one before.
	respond(w.T, await(w.T, w.group), "by itself")
	await(w.T, r.replies)
	w.settled()
}

// settled returns when the mux has taken in what was answered.
func (w *batched) settled() {
	w.Helper()
	waittest.Until(w, "the way is proven", w.Route.Proven)
}

func (w *batched) answer(all ...batch.Answer) { w.answerAt(w.Answers, all...) }

func (w *batched) answerAt(subject string, all ...batch.Answer) {
	w.Helper()
	var frame []byte
	for _, a := range all {
		frame = batch.AppendAnswer(frame, a)
	}
	if err := w.module.Publish(subject, frame); err != nil {
		w.Fatal(err)
	}
}

// ask sends requests that travel together, at places from 0 on, and returns their tickets.
func (w *batched) ask(to natsrequest.Receiver, texts ...string) (tickets []natsrequest.Ticket) {
	w.Helper()
	release := w.Hold()
	for i, text := range texts {
		tickets = append(tickets, w.send(to, i, natsrequest.Request{Subject: subject, Data: []byte(text), Batch: w.Batch}))
	}
	release()
	return tickets
}

// taken is the next message for the worker, of which the test wants so many questions.
func (w *batched) taken(want int) (m *nats.Msg, first uint64) {
	w.Helper()
	m = await(w.T, w.questions)
	first, all, err := batch.Questions(m.Data)
	if err != nil || len(all) != want {
		w.Fatalf("%d questions travel together, not %d: %v", len(all), want, err)
	}
	return m, first
}

func (w *batched) wants(r *receiver, want map[int]string) {
	w.Helper()
	for range len(want) {
		got := await(w.T, r.replies)
		if text, ok := want[got.place]; !ok || string(got.msg.Data) != text {
			w.Errorf("got %q at place %d, want %v", got.msg.Data, got.place, want)
		}
		delete(want, got.place)
	}
}

func TestQuestionsThatWaitTravelTogether(t *testing.T) {
	t.Parallel()
	w, r := newBatched(t), newReceiver()
	w.ask(r, "a", "b", "c")
	_, first := w.taken(3)
	w.answer(batch.Answer{Number: first + 2, Data: []byte("C")}, batch.Answer{Number: first, Data: []byte("A")})
	w.answer(batch.Answer{Number: first + 1, Data: []byte("B")})
	w.wants(r, map[int]string{0: "A", 1: "B", 2: "C"})
	if n := w.Waiting(); n != 0 {
		t.Errorf("%d replies are waited for", n)
	}
}

func TestBatchHasAsManyQuestionsAsTheWorkerTakes(t *testing.T) {
	t.Parallel()
	w, r := newBatched(t), newReceiver()
	w.ask(r, "a", "b", "c", "d", "e")
	w.taken(int(w.Most))
	if q := await(t, w.group); string(q.Data) != "e" || len(q.Header) > 0 {
		t.Errorf("the last one came as %q with %v", q.Data, q.Header)
	}
}

func TestBatchAnswersFailures(t *testing.T) {
	t.Parallel()
	w, r := newBatched(t), newReceiver()
	w.ask(r, "a", "b")
	_, first := w.taken(2)
	w.answer(batch.Answer{Number: first, Failed: true, Code: "busy", Text: "later"})
	if f := wire.FailureOf(await(t, r.replies).msg); f == nil || f.Kind != rosterv1.FailureKind_BUSY || f.Text != "later" {
		t.Errorf("got %v", f)
	}
}

func TestAnswersCountOnceAndFromTheModuleThatWasAsked(t *testing.T) {
	t.Parallel()
	w, r := newBatched(t), newReceiver()
	w.ask(r, "a", "b")
	_, first := w.taken(2)
	forged := batch.Answer{Number: first, Data: []byte("forged")}
	w.answerAt(subjects.For(server).Answers("other", client), forged)
	w.answerAt(subjects.For(server).Answers("gate", "another-client"), forged)
	for range 2 {
		w.answer(batch.Answer{Number: first, Data: []byte("A")})
	}
	w.answer(batch.Answer{Number: first + 1, Data: []byte("B")}, batch.Answer{Number: first + 7, Data: []byte("C")})
	w.wants(r, map[int]string{0: "A", 1: "B"})
	w.passed(w.group, r)
}

func TestAnswersThatNobodyAskedForTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	if most := newWorld(t).Unread(); len(most) != 2 || most[1] <= 0 {
		t.Errorf("%v bytes of replies, and of answers to batches, may wait", most)
	}
}

func TestBatchThatCannotBeReadAnswersNothing(t *testing.T) {
	t.Parallel()
	w, r := newBatched(t), newReceiver()
	w.ask(r, "a", "b")
	_, first := w.taken(2)
	cut := batch.AppendAnswer(batch.AppendAnswer(nil, batch.Answer{Number: first}), batch.Answer{Number: first + 1, Data: []byte("refuse")})
	if err := w.module.Publish(w.Answers, cut[:len(cut)-1]); err != nil {
		t.Fatal(err)
	}
	w.passed(w.group, r)
}

func TestBatchThatNobodyTakesComesBack(t *testing.T) {
	t.Parallel()
	for name, give := range map[string]func(w *batched){
		"nobody is there":         nil,
		"the worker takes none":   func(w *batched) { respond(w.T, await(w.T, w.questions), "what is this?") },
		"the answer comes to all": func(w *batched) { m, _ := w.taken(2); respond(w.T, m, ""); respond(w.T, m, "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, r := newBatched(t), newReceiver()
			if give == nil {
				w.Subject = "nobody"
			}
			w.ask(r, "a", "b")
			if give != nil {
				give(w)
			}
			for range 2 {
				if got := await(t, r.replies); got.msg != natsrequest.Alone {
					t.Errorf("got %v at place %d", got.msg, got.place)
				}
			}
			w.passed(w.group, r)
		})
	}
}

func TestQuestionsTravelAloneWhereBatchesAreNotAnswered(t *testing.T) {
	t.Parallel()
	w, r := newBatched(t), newReceiver()
	ticket := w.ask(r, "a", "b")[0]
	w.taken(2)
	w.Forget(ticket) // Its time is over, without an answer.
	w.ask(r, "c", "d")
	w.taken(0)
	for _, want := range []string{"c", "d"} {
		if q := await(t, w.group); string(q.Data) != want {
			t.Errorf("got %q, not %q", q.Data, want)
		}
	}
	w.ask(r, "e", "f") // It has been tried a moment ago.
	for range 2 {
		await(t, w.group)
	}
	if len(w.questions) > 0 {
		t.Error("the way was tried again at once")
	}
}

// Workers come and go, and one that hangs answers nothing.
func TestProbeThatIsNotAnsweredIsForgotten(t *testing.T) {
	t.Parallel()
	w, b := newWorld(t), batchTo("gate")
	w.questions(subject)
	probes := w.questions(b.Subject)
	w.send(newReceiver(), 0, natsrequest.Request{Subject: subject, Batch: b})
	await(t, probes)
	if n := w.Probing(); n != 1 {
		t.Errorf("%d are waited for", n)
	}
	waittest.Until(t, "it is forgotten", func() bool { return w.Probing() == 0 })
}

func TestOnlySmallQuestionsInProtobufTravelTogether(t *testing.T) {
	t.Parallel()
	w, r := newBatched(t), newReceiver()
	release := w.Hold()
	for i, q := range []natsrequest.Request{
		{Data: make([]byte, 17<<10)}, {Data: []byte("{}"), JSON: true}, {Data: wire.Elsewhere, File: "file", Size: 1},
	} {
		q.Subject, q.Batch = subject, w.Batch
		w.send(r, i, q)
	}
	release()
	for range 3 {
		await(t, w.group)
	}
}

func TestCancelNamesAQuestionOfABatch(t *testing.T) {
	t.Parallel()
	w, r := newBatched(t), newReceiver()
	cancelled := w.world.questions(cancels)
	tickets := w.ask(r, "a", "b")
	m, first := w.taken(2)
	w.Cancel(tickets[1], cancels)
	if got, want := string(await(t, cancelled).Data), string(batch.AppendName([]byte(m.Reply), 1)); got != want {
		t.Errorf("cancelled %q, and not %q", got, want)
	}
	w.answer(batch.Answer{Number: first + 1, Data: []byte("late")}, batch.Answer{Number: first, Data: []byte("A")})
	w.wants(r, map[int]string{0: "A"})
	w.passed(w.group, r)
}

func TestMuxCloseFailsWhatTravelsTogether(t *testing.T) {
	t.Parallel()
	w, r := newBatched(t), newReceiver()
	w.ask(r, "a", "b")
	w.taken(2)
	w.Close()
	for range 2 {
		if f := wire.FailureOf(await(t, r.replies).msg); f == nil || f.Kind != rosterv1.FailureKind_ABSENT {
			t.Errorf("got %v", f)
		}
	}
}

// What NATS loses, doubles and delays: each question has its own answer, or none.
func TestBatchesNeverMixAnswersUp(t *testing.T) {
	t.Parallel()
	w := newBatched(t)
	rapid.Check(t, func(t *rapid.T) {
		r := newReceiver()
		texts := rapid.SliceOfNDistinct(rapid.StringMatching("[a-z]{1,4}"), 2, int(w.Most), rapid.ID).Draw(t, "questions")
		w.ask(r, texts...)
		_, first := w.taken(len(texts))
		var sent []int
		for _, i := range rapid.SliceOf(rapid.IntRange(0, len(texts)-1)).Draw(t, "answers that come, in order") {
			w.answer(batch.Answer{Number: first + uint64(i), Data: []byte("re " + texts[i])})
			sent = append(sent, i)
		}
		slices.Sort(sent)
		for range slices.Compact(sent) {
			if got := await(w.T, r.replies); string(got.msg.Data) != "re "+texts[got.place] {
				t.Errorf("%q was answered %q", texts[got.place], got.msg.Data)
			}
		}
		w.passed(w.group, r)
	})
}
