package natsrequest_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/natsrequest"
)

// many is more batches than there are reply subjects for one worker, when all of them are answered.
const many = 3000

// exchange sends two questions together, has as many of them answered, and returns the reply subject.
func (s *batched) exchange(r *receiver, answers int) string {
	s.Helper()
	tickets := s.ask(r, "a", "b")
	m, first := s.taken(2)
	for i, ticket := range tickets {
		if i >= answers {
			s.Forget(ticket)
			continue
		}
		s.answer(batch.Answer{Number: first + uint64(i)})
		await(s.T, r.replies)
	}
	return m.Reply
}

// NATS remembers each reply subject that it has not seen an answer at.
func TestReplySubjectsOfBatchesAreUsedAgain(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	seen, last := map[string]int{}, 0
	for i := range many {
		reply := s.exchange(r, 2)
		if at, ok := seen[reply]; ok && i-at < 1000 {
			t.Fatalf("a reply subject comes again after %d others", i-at)
		} else if !ok {
			last = i
		}
		seen[reply] = i
	}
	if len(seen) > many/2 {
		t.Errorf("%d batches have %d reply subjects; the last new one is of batch %d", many, len(seen), last)
	}
}

// late is what a worker says to a question that it has answered, or that is another's: no question is waiting for it.
const late = "an answer to a question that is over"

// A kit may answer twice, or two processes may be the same worker: whenever the second answer comes, it is no other question's.
func TestSecondAnswerIsNoOtherQuestions(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	var before []uint64
	by := map[string][]uint64{} // the numbers that came with a reply subject
	for range many {
		s.ask(r, "a", "b")
		m, first := s.taken(2)
		for _, old := range append(by[m.Reply], before[max(0, len(before)-5):]...) {
			s.answer(batch.Answer{Number: old, Data: []byte(late)}, batch.Answer{Number: old + 1, Data: []byte(late)})
		}
		s.answer(batch.Answer{Number: first + 1, Data: []byte("B")}, batch.Answer{Number: first, Data: []byte("A")})
		s.wants(r, map[int]string{0: "A", 1: "B"})
		by[m.Reply], before = append(by[m.Reply], first), append(before, first)
	}
	if len(by) > many/2 {
		t.Errorf("%d batches have %d reply subjects: none was used twice", many, len(by))
	}
}

// Whatever a worker answers, in whatever order, twice or to questions that are over: a number is one question's.
func TestNumbersOfQuestionsAreNeverUsedAgain(t *testing.T) {
	t.Parallel()
	s := newBatched(t)
	seen, over := map[uint64]bool{}, []uint64{}
	rapid.Check(t, func(t *rapid.T) {
		r := newReceiver()
		texts := rapid.SliceOfNDistinct(rapid.StringMatching("[a-z]{1,4}"), 2, int(s.Most), rapid.ID).Draw(t, "questions")
		tickets := s.ask(r, texts...)
		m, first := s.taken(len(texts))
		for i := range texts {
			if number := first + uint64(i); seen[number] {
				t.Fatalf("question %d of %s has the number of another", i, m.Reply)
			} else if len(over) > 0 && rapid.Bool().Draw(t, "another is answered again") {
				s.answer(batch.Answer{Number: rapid.SampledFrom(over).Draw(t, "number"), Data: []byte(late)})
			}
		}
		for i, text := range texts {
			seen[first+uint64(i)] = true
			over = append(over, first+uint64(i))
			if rapid.IntRange(0, 9).Draw(t, "is not answered") == 0 {
				s.Forget(tickets[i])
				s.prove()
				continue
			}
			s.answer(batch.Answer{Number: first + uint64(i), Data: []byte(text)})
			if got := await(s.T, r.replies); got.place != i || string(got.msg.Data) != text {
				t.Fatalf("question %d was answered %q, at place %d", i, got.msg.Data, got.place)
			}
		}
	})
}

// A reply subject that was used before says nothing about the batch that had it.
func TestBatchComesBackWhoseReplySubjectWasUsedBefore(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	seen := map[string]bool{}
	for reply := s.exchange(r, 2); !seen[reply]; reply = s.exchange(r, 2) {
		seen[reply] = true
	}
	s.ask(r, "a", "b")
	m, _ := s.taken(2)
	if !seen[m.Reply] {
		t.Fatal("the reply subject is a new one")
	}
	respond(t, m, "")
	for range 2 {
		if got := await(t, r.replies); got.msg != natsrequest.Alone {
			t.Errorf("got %v at place %d", got.msg, got.place)
		}
	}
}

// The answer may still come, and must count for no other question.
func TestReplySubjectOfAQuestionWithoutAnAnswerIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	lost := map[string]bool{}
	for i := range many {
		answers := 2
		if i%100 == 0 {
			answers = i / 100 % 2
		}
		reply := s.exchange(r, answers)
		if lost[reply] {
			t.Fatal("a reply subject comes again, of which a question has no answer")
		}
		if answers < 2 {
			lost[reply] = true
			s.prove() // The question that was forgotten has put the way in doubt.
		}
	}
}

func TestReplySubjectsAreNotSharedByWorkers(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	first := map[string]bool{}
	for range many {
		first[s.exchange(r, 2)] = true
	}
	s.Batch = &natsrequest.Batch{Subject: byName, Answers: s.Answers, Most: 4, Route: &natsrequest.Route{}}
	s.prove()
	for range many {
		if first[s.exchange(r, 2)] {
			t.Fatal("two workers know a reply subject")
		}
	}
}

// Its name is the next question's with the same number.
func TestQuestionThatIsAnsweredIsNotCancelled(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	cancelled := s.stage.questions(cancels)
	tickets := s.ask(r, "a", "b")
	m, first := s.taken(2)
	s.answer(batch.Answer{Number: first})
	await(t, r.replies)
	s.Cancel(tickets[0], cancels)
	s.Cancel(tickets[1], cancels)
	if got := await(t, cancelled); string(got.Data) != m.Reply+"-1" {
		t.Errorf("cancelled %q of %q", got.Data, m.Reply)
	}
}
