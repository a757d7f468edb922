package natsrequest_test

import (
	"errors"
	"testing"

	"github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/waittest"
)

func TestAnswerLetsRequestsGoThatWait(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	s.ask(r, "a", "b")
	_, first := s.taken(2)
	s.Crowd(s.Route)
	for i, text := range []string{"c", "d"} {
		s.send(r, i, natsrequest.Request{Subject: subject, Data: []byte(text), Batch: s.Batch})
	}
	s.answer(batch.Answer{Number: first})
	s.taken(2)
}

// The module cannot cancel what it does not know yet, nor by another name than it has.
func TestRequestThatWaitsIsCancelledByItsName(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	heard := s.stage.questions("*.>")
	s.Crowd(s.Route)
	var tickets []natsrequest.Ticket
	for i, text := range []string{"a", "b"} {
		tickets = append(tickets, s.send(r, i, natsrequest.Request{Subject: subject, Data: []byte(text), Batch: s.Batch}))
	}
	s.Cancel(tickets[1], cancels)
	asked, cancelled := await(t, heard), await(t, heard)
	if asked.Subject != byName || cancelled.Subject != cancels || string(cancelled.Data) != asked.Reply+"-1" {
		t.Errorf("the module heard of %s at %q, and then %q at %q", asked.Reply, asked.Subject, cancelled.Data, cancelled.Subject)
	}
}

// Each way in which a request ends makes room for those that wait.
func TestRequestsThatEndAreNotAwayAnyMore(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	tickets := s.ask(r, "a", "b", "c", "d")
	_, first := s.taken(4)
	if n := s.Route.Away(); n != 4 {
		t.Fatalf("%d requests are away", n)
	}
	s.Forget(tickets[0])
	s.Cancel(tickets[1], cancels)
	s.answer(batch.Answer{Number: first + 2}, batch.Answer{Number: first + 2})
	await(t, r.replies)
	s.Forget(tickets[2])
	s.FailAll(errors.New("the connection is gone"))
	await(t, r.replies)
	if n := s.Route.Away(); n != 0 {
		t.Errorf("%d requests are away", n)
	}
}

func TestRequestThatComesBackIsNotAwayAnyMore(t *testing.T) {
	t.Parallel()
	s, r := newBatched(t), newReceiver()
	s.ask(r, "a", "b")
	m, _ := s.taken(2)
	respond(t, m, "")
	for range 2 {
		await(t, r.replies)
	}
	waittest.Until(t, "nothing is away", func() bool { return s.Route.Away() == 0 })
}
