package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/wire"
)

func answers(ctx context.Context, s *stage) error {
	if _, err := s.first(); err != nil {
		return err
	}
	for _, d := range s.registered() {
		if err := s.answered(ctx, s.question(d)); err != nil {
			return fmt.Errorf("%s: %w", d.FullName(), err)
		}
	}
	return nil
}

func answersByName(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	q.subject = s.server.Worker(q.callback, moduleName, s.busd.last().GetWorker())
	return s.answered(ctx, q)
}

// atOnce asks n times at once, and returns how many questions were not answered, and how many were answered busy.
func (s *stage) atOnce(ctx context.Context, q question, n int) (lost, busy int) {
	replies := make(chan *nats.Msg, n)
	for range n {
		go func() {
			m, err := s.ask(ctx, q)
			if err != nil {
				m = nil
			}
			replies <- m
		}()
	}
	for range n {
		switch m := <-replies; {
		case m == nil:
			lost++
		case isBusy(m):
			busy++
		}
	}
	return lost, busy
}

func isBusy(m *nats.Msg) bool { return wire.Header(m, wire.HeaderErrorCode) == "busy" }

func severalAtOnce(ctx context.Context, s *stage) error {
	const several = 40
	q, err := s.any()
	if err != nil {
		return err
	}
	if lost, _ := s.atOnce(ctx, q, several); lost > 0 {
		return fmt.Errorf("of %d questions at once, %d were not answered within %v: one waits for another", several, lost, answerTime)
	}
	return nil
}

func busy(ctx context.Context, s *stage) error {
	const flood = 2000
	q, err := s.any()
	if err != nil {
		return err
	}
	lost, busy := s.atOnce(ctx, q, flood)
	if lost > 0 {
		return fmt.Errorf("of %d questions at once, %d got no reply at all, and %d that it is busy: bound the tasks, and answer busy beyond",
			flood, lost, busy)
	}
	return s.answered(ctx, q)
}

// secret is a text that no failure may repeat.
const secret = "hunter2"

// unreadable returns a question that cannot be decoded.
func (s *stage) unreadable() (question, error) {
	q, err := s.any()
	q.data = []byte("\xff{" + secret)
	return q, err
}

func malformed(ctx context.Context, s *stage) error {
	q, err := s.unreadable()
	if err != nil {
		return err
	}
	m, err := s.ask(ctx, q)
	switch {
	case err != nil:
		return err
	case wire.FailureOf(m) == nil:
		return errors.New("it answers a question that nobody can read as if it were in order: everybody passes")
	}
	return nil
}

func discreet(ctx context.Context, s *stage) error {
	q, err := s.unreadable()
	if err != nil {
		return err
	}
	m, err := s.ask(ctx, q)
	if err == nil && mentions(m, secret) {
		return fmt.Errorf("the text of its failure repeats the question: %q", wire.Header(m, wire.HeaderError))
	}
	return err
}

func deadline(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	q.header.Set(wire.HeaderTimeout, "1")
	if _, err := s.ask(ctx, q); err != nil {
		return fmt.Errorf("asked with %s: 1: %w; a failure of kind timeout is a reply, too", wire.HeaderTimeout, err)
	}
	q.header.Del(wire.HeaderTimeout)
	if err := s.hurried(ctx); err != nil {
		return err
	}
	return s.answered(ctx, q)
}

func cancels(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	const many = 300
	for range many {
		inbox := s.nc.NewInbox()
		err := errors.Join(
			s.nc.PublishMsg(&nats.Msg{Subject: q.subject, Reply: inbox, Header: q.header, Data: q.data}),
			s.nc.Publish(s.server.Cancel(moduleName), []byte(inbox)))
		if err != nil {
			return err
		}
	}
	if err := s.rejoins(ctx, "it was told that answers are no longer wanted, and has not joined since"); err != nil {
		return err
	}
	return s.free(ctx, q)
}

// free waits until a question is not answered busy.
func (s *stage) free(ctx context.Context, q question) error {
	ctx, cancel := context.WithTimeout(ctx, 3*answerTime)
	defer cancel()
	for {
		m, err := s.ask(ctx, q)
		switch {
		case err != nil:
			return err
		case !isBusy(m):
			return q.acceptable(m)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("all that it was asked is over or no longer wanted, and %v later it is still busy: "+
				"free the place of each question, however it ends", 3*answerTime)
		case <-time.After(answerTime / 10):
		}
	}
}

func forged(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	q.header.Set("Nats-Stream", "KV_somebody")
	ctx, cancel := context.WithTimeout(ctx, answerTime/4)
	defer cancel()
	if _, err := s.ask(ctx, q); err == nil {
		return errors.New("it answers a message with the header Nats-Stream: whoever may store something can have it ask anybody anything")
	}
	return nil
}
