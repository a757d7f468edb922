package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Options configure [Run].
type Options struct {
	// Command is the module's program and its arguments. Required.
	Command []string

	// Config is the module's configuration. Default {}.
	Config json.RawMessage

	// Output gets the module's output. Default: it is dropped.
	Output io.Writer

	// Verified is called with each result as soon as it is known. Default: none.
	Verified func(Result)
}

// Verdict is whether a module keeps a rule.
type Verdict string

// Verdicts.
const (
	Kept    Verdict = "kept"
	Broken  Verdict = "broken"
	Skipped Verdict = "skipped" // the rule does not apply to the module, or the module cannot be asked any more
)

// page is where the rules are explained.
const page = "docs/protocol.md#"

// skip is the reason why a rule is skipped.
type skip string

// Error implements error.
func (s skip) Error() string { return string(s) }

// noteEnd remembers how a process ended that was not asked to end.
func (s *stage) noteEnd() {
	if s.process != nil && s.process.over() && !s.process.asked {
		s.process.asked = true
		s.ended = append(s.ended, s.process.how())
	}
}

// Run starts the module and checks the rules. It takes about ten seconds, longer if the module breaks rules, and ends
// with ctx.
func Run(ctx context.Context, o Options) (*Report, error) {
	s, err := open(o)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.run(ctx, rules)
}

func (s *stage) run(ctx context.Context, rules []rule) (*Report, error) {
	report := &Report{Command: s.Command, Correct: true}
	for _, r := range rules {
		result := s.verify(ctx, r)
		report.Correct = report.Correct && result.Verdict != Broken
		report.Results = append(report.Results, result)
		if s.Verified != nil {
			s.Verified(result)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return report, nil
}

func (s *stage) verify(ctx context.Context, r rule) Result {
	result := Result{Rule: r.id, Sentence: r.sentence, Link: page + r.anchor, Verdict: Kept}
	err := s.look(ctx, r)
	var why skip
	switch {
	case errors.As(err, &why):
		result.Verdict, result.Why = Skipped, string(why)
	case err != nil:
		result.Verdict, result.Why = Broken, err.Error()
	}
	return result
}

// look checks one rule, with a module that runs and has joined, unless the rule is about joining itself.
func (s *stage) look(ctx context.Context, r rule) error {
	ctx, cancel := context.WithTimeout(ctx, ruleTime)
	defer cancel()
	if !r.alone {
		if s.gaveUp != "" {
			return skip(s.gaveUp)
		}
		if err := s.again(ctx); err != nil {
			return skip(err.Error())
		}
	}
	return r.check(ctx, s)
}

// again starts the module again if it has ended.
func (s *stage) again(ctx context.Context) error {
	if s.process != nil && !s.process.over() {
		return nil
	}
	s.noteEnd()
	if err := s.start(); err != nil {
		return err
	}
	if err := s.awaitJoin(ctx, 0); err != nil {
		return fmt.Errorf("it ended, and did not join again: %w", err)
	}
	return nil
}
