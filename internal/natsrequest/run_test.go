package natsrequest_test

import (
	"testing"

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
