package replay

import (
	"fmt"
	"slices"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// step is a module that is asked again, with its terms.
type step struct {
	part    *decision.Module
	timeout time.Duration
	policy  callbacksv1.OnFailure
}

// walk goes through the modules of a recorded ask.
type walk struct {
	record   *decision.Record
	callback *subjects.Declaration
	steps    []step
	budget   time.Duration
	parallel bool

	walk     combine.Walk
	faithful bool          // everything so far is as it was recorded
	clock    time.Duration // when the last module that counts had answered
	answered []string      // earlier modules that gave an answer
}

// grain is how exact the times of a record are.
const grain = 2 * time.Microsecond

func (w *walk) decide() Verdict {
	w.walk.Start(w.callback.Options.GetRule(), w.parallel, len(w.steps), w.callback.NewRequest())
	w.faithful = true
	for i := range w.steps {
		if w.walk.Done() {
			break
		}
		s := &w.steps[i]
		w.faithful = w.faithful && w.stood(i) == s.part.Module
		said, why := w.again(s)
		if why != "" {
			return unknown("%s %s", s.part.Module, why)
		}
		w.walk.Tell(i, said)
		if said.Answer != nil && said.Failure == rosterv1.FailureKind_FAILURE_KIND_UNSPECIFIED {
			w.answered = append(w.answered, s.part.Module)
		}
	}
	return w.verdict()
}

// stood returns the module that was recorded in a place.
func (w *walk) stood(place int) string {
	for _, m := range w.record.Modules {
		if m.Shadow {
			continue
		}
		if place == 0 {
			return m.Module
		}
		place--
	}
	return ""
}

// again returns what the module says when it is asked again, or why that is not known.
func (w *walk) again(s *step) (said combine.Outcome, why string) {
	at := w.askedAt(s)
	given := min(w.budget-at, s.timeout)
	m := s.part
	switch {
	case m.Said == "":
		return said, "had not said anything when the ask was over"
	case m.Said == decision.Failure && m.Failure == "timeout":
		return w.late(s, at, given)
	case given+grain < m.GivenMS.Duration() && given < m.MS.Duration():
		return w.timeout(s, at, given), ""
	case w.callback.Options.GetRule() == callbacksv1.Rule_FOLD && !slices.Equal(w.answered, w.answeredBefore(m)):
		return said, "would have been asked something else"
	}
	w.advance(at + m.MS.Duration())
	return w.recorded(s), ""
}

// askedAt returns when the module is asked: at the recorded time, as long as everything is as recorded.
func (w *walk) askedAt(s *step) time.Duration {
	switch {
	case w.faithful && s.part.AskedAtMS != nil:
		return s.part.AskedAtMS.Duration()
	case w.parallel:
		return 0
	}
	return w.clock
}

// late returns the outcome of a module that had timed out. With more time it might have answered.
func (w *walk) late(s *step, at, given time.Duration) (_ combine.Outcome, why string) {
	m := s.part
	switch {
	case m.AskedAtMS == nil && (w.faithful && w.budget <= w.record.BudgetMS.Duration()+grain || at >= w.budget),
		m.AskedAtMS != nil && given <= m.GivenMS.Duration()+grain:
		return w.timeout(s, at, given), ""
	}
	return combine.Outcome{}, fmt.Sprintf("had %s, which was too little, and would have had more", m.GivenMS.Duration())
}

func (w *walk) timeout(s *step, at, given time.Duration) combine.Outcome {
	w.faithful = w.faithful && s.part.Failure == "timeout"
	w.advance(at + max(0, given))
	return w.failure(rosterv1.FailureKind_TIMEOUT, s.policy)
}

// advance notes that a module that counts has answered.
func (w *walk) advance(to time.Duration) { w.clock = max(w.clock, to) }

// recorded returns what the module said. A record does not hold the answer itself, so another answer stands for it.
func (w *walk) recorded(s *step) combine.Outcome {
	m := s.part
	switch m.Said {
	case decision.Failure:
		if m.Failure == "absent" && m.GivenMS == 0 && m.Policy == "skip" { // It was not known whether it wanted to be asked.
			return w.failure(kinds[m.Failure], callbacksv1.OnFailure_SKIP)
		}
		return w.failure(kinds[m.Failure], s.policy)
	case decision.Refusal:
		return combine.Outcome{Answer: w.callback.Refused(&callbacksv1.Refusal{Errcode: m.Errcode})}
	case decision.Answer:
		answer := w.callback.NewReply()
		if m.Final {
			combine.End(answer)
		}
		return combine.Outcome{Answer: answer}
	}
	return combine.Outcome{}
}

var kinds = func() map[string]rosterv1.FailureKind {
	all := map[string]rosterv1.FailureKind{}
	for kind := range rosterv1.FailureKind_name {
		all[wire.KindName(rosterv1.FailureKind(kind))] = rosterv1.FailureKind(kind)
	}
	return all
}()

func (w *walk) failure(kind rosterv1.FailureKind, policy callbacksv1.OnFailure) combine.Outcome {
	o := combine.Outcome{Failure: kind, Policy: policy}
	if policy == callbacksv1.OnFailure_REFUSE {
		o.Answer = w.callback.Refused(&callbacksv1.Refusal{})
	}
	return o
}

// answeredBefore returns the earlier modules whose answers the module was given.
func (w *walk) answeredBefore(m *decision.Module) (before []string) {
	for i := range w.record.Modules {
		other := &w.record.Modules[i]
		if other.Module == m.Module {
			break
		}
		if other.Said == decision.Answer && !other.Shadow {
			before = append(before, other.Module)
		}
	}
	return before
}

func (w *walk) verdict() Verdict {
	d := w.walk.Decision()
	v := Verdict{MS: decision.In(w.clock), Outcome: decision.NoOpinion}
	switch {
	case d.FailedBy != combine.Nobody:
		v.Outcome, v.By = decision.Failed, []string{w.steps[d.FailedBy].part.Module}
		return v
	case d.Answer != nil && combine.Refuses(d.Answer):
		v.Outcome = decision.Refused
	case d.Answer != nil:
		v.Outcome = decision.Answered
	}
	if d.By != combine.Nobody {
		v.DecidedBy = w.steps[d.By].part.Module
		v.ByPolicy = len(d.Failures) > 0 && d.Failures[len(d.Failures)-1].Module == d.By
		return v
	}
	if v.Outcome == decision.Answered {
		v.By = w.answered
	}
	return v
}
