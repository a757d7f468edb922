package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

func starts(ctx context.Context, s *stage) error {
	if err := s.start(); err != nil {
		s.gaveUp = "it does not start"
		return err
	}
	s.gaveUp = "it never joined"
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for {
		entries, _ := s.busd.counts()
		if entries >= 2 {
			return nil
		}
		_, moved := s.busd.joinedAfter(0)
		select {
		case <-moved:
		case <-s.process.done:
			return errors.New(s.process.how())
		case <-ctx.Done():
			return fmt.Errorf("within %v it has requested %s %d times; the first answer is that it is not listed yet, so twice is due",
				s.patience, s.server.Entry(moduleName), entries)
		}
	}
}

func joins(ctx context.Context, s *stage) error {
	if entries, _ := s.busd.counts(); s.process == nil || s.process.over() || entries == 0 {
		return skip(s.gaveUp)
	}
	if s.busd.count() == 0 {
		if err := s.awaitJoin(ctx, 0); err != nil {
			return err
		}
	}
	j := s.busd.last()
	switch {
	case j.GetWorker() == "":
		return errors.New("its join names no worker")
	case j.GetConfigError() != nil:
		return fmt.Errorf("it refuses its configuration (%s: %s); give one that it takes with --module-config",
			j.GetConfigError().GetPath(), j.GetConfigError().GetError())
	}
	s.gaveUp = ""
	return nil
}

func listensFirst(_ context.Context, s *stage) error {
	for _, j := range s.busd.all() {
		if j.deaf {
			return errors.New("when its join came, nobody listened for its questions: who asks in that moment finds it absent")
		}
	}
	return nil
}

func revision(_ context.Context, s *stage) error {
	if j := s.busd.last(); j.GetConfigRevision() != j.revised {
		return fmt.Errorf("its join says config_revision %d, and the entry %d", j.GetConfigRevision(), j.revised)
	}
	return nil
}

func renews(ctx context.Context, s *stage) error {
	const times = 3
	ctx, cancel := context.WithTimeout(ctx, 2*times*joinEvery+answerTime)
	defer cancel()
	for range times {
		if err := s.awaitJoin(ctx, s.busd.count()); err != nil {
			return fmt.Errorf("join_every_ms is %d, and it has not joined %d times since: busd forgets it", joinEvery.Milliseconds(), times)
		}
	}
	return nil
}

func quiet(_ context.Context, s *stage) error {
	const most = 20 // several times what a module needs
	_, before := s.busd.counts()
	select {
	case <-time.After(joinEvery):
	case <-s.process.done:
		return errors.New(s.process.how())
	}
	if _, said := s.busd.counts(); said-before > most {
		return fmt.Errorf("it has said %d things to busd in the time for one join: it floods busd", said-before)
	}
	return nil
}

// after waits for a join that satisfies is.
func (s *stage) after(ctx context.Context, what string, is func(joined) bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for {
		_, moved := s.busd.joinedAfter(0)
		if is(s.busd.last()) {
			return nil
		}
		select {
		case <-moved:
		case <-s.process.done:
			if !s.process.orderly() {
				return errors.New(s.process.how())
			}
			if err := s.start(); err != nil { // The module ended so that a process with the new configuration is started, which busd would do.
				return err
			}
		case <-ctx.Done():
			return errors.New(what)
		}
	}
}

func changed(ctx context.Context, s *stage) error {
	want := s.busd.configure(s.Config)
	err := s.after(ctx, "it was told that its entry has changed, and goes on saying that it runs with the old configuration",
		func(j joined) bool { return j.GetConfigRevision() == want && j.GetConfigError() == nil })
	if err != nil {
		return err
	}
	return s.alive(ctx)
}

// alive asks any question, and returns an error if it is not answered.
func (s *stage) alive(ctx context.Context) error {
	if len(s.registered()) == 0 {
		return nil
	}
	return s.answered(ctx, s.question(s.registered()[0]))
}

func busdAway(ctx context.Context, s *stage) error {
	s.busd.away(true)
	select {
	case <-time.After(2 * joinEvery):
	case <-s.process.done:
		s.busd.away(false)
		return errors.New("busd did not answer for a second: " + s.process.how())
	}
	s.busd.away(false)
	return s.rejoins(ctx, "busd was away for a second, and it has not joined since")
}

func (s *stage) rejoins(ctx context.Context, otherwise string) error {
	count := s.busd.count()
	if err := s.awaitJoin(ctx, count); err != nil {
		if s.process.over() {
			return err
		}
		return errors.New(otherwise)
	}
	return s.alive(ctx)
}

func reconnects(ctx context.Context, s *stage) error {
	s.line.cut()
	return s.rejoins(ctx, "its connection to NATS broke, and it has not joined since")
}

func unique(ctx context.Context, s *stage) error {
	first := s.busd.last().GetWorker()
	other, err := s.launch("another")
	if err != nil {
		return err
	}
	defer other.end()
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for count := s.busd.count(); ; {
		_, moved := s.busd.joinedAfter(0)
		for _, j := range s.busd.all()[count:] {
			if j.GetWorker() != first {
				return nil
			}
		}
		select {
		case <-moved:
		case <-other.done:
			return errors.New("a second worker: " + other.how())
		case <-ctx.Done():
			return fmt.Errorf("two processes join as the same worker, %q: each takes the other's questions", first)
		}
	}
}

// drains asks all the time while the module ends. A question for which no subscription was left does not count as lost.
func drains(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	const callers = 4
	lost, ended := make(chan int, callers), make(chan struct{})
	for range callers {
		go func() { lost <- s.askUntil(ctx, q, ended) }()
	}
	time.Sleep(joinEvery / 4) // Questions are on their way all the time then.
	s.drained = s.process.stop()
	close(ended)
	all := 0
	for range callers {
		all += <-lost
	}
	if all > 0 {
		return fmt.Errorf("%d questions that it had, or that were on their way to it, were never answered: "+
			"drain subscriptions, answer, and close then", all)
	}
	return nil
}

// askUntil counts the questions that were not answered.
func (s *stage) askUntil(ctx context.Context, q question, ended <-chan struct{}) (lost int) {
	for {
		select {
		case <-ended:
			return lost
		default:
		}
		if _, err := s.ask(ctx, q); errors.Is(err, errLost) {
			lost++
		}
	}
}

func leaves(_ context.Context, s *stage) error {
	if s.gaveUp != "" || s.process == nil {
		return skip(s.gaveUp)
	}
	s.noteEnd()
	if !s.process.asked {
		s.drained = s.process.stop()
	}
	switch worker := s.busd.last().GetWorker(); {
	case !s.drained:
		s.process.kill()
		return fmt.Errorf("it still runs %v after SIGTERM", stopTime)
	case !s.process.orderly():
		return errors.New("after SIGTERM " + s.process.how())
	case !s.busd.left(worker):
		return fmt.Errorf("it has not requested %s as worker %q", s.server.Leave(moduleName), worker)
	}
	return nil
}

func stays(_ context.Context, s *stage) error {
	s.noteEnd()
	if len(s.ended) > 0 {
		return errors.New(strings.Join(s.ended, "; "))
	}
	if s.process == nil && s.gaveUp != "" {
		return skip(s.gaveUp)
	}
	return nil
}
