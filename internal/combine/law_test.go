package combine_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/combine/combinetest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// question is one ask, and what each module makes of it.
type question struct {
	rule    callbacksv1.Rule
	request proto.Message
	modules []combine.Outcome
}

var questions = rapid.Custom(func(t *rapid.T) question {
	kind := rapid.SampledFrom(combinetest.Kinds).Draw(t, "kind")
	module := rapid.Custom(func(t *rapid.T) combine.Outcome {
		switch rapid.IntRange(0, 3).Draw(t, "does") {
		case 0:
			return combine.Outcome{}
		case 1:
			return combinetest.Failure(t, kind.Refused())
		}
		return combine.Outcome{Answer: kind.Answer.Draw(t, "answer")}
	})
	return question{
		rule:    kind.Rule(),
		request: kind.Request.Draw(t, "request"),
		modules: rapid.SliceOfN(module, 0, 7).Draw(t, "modules"),
	}
})

// parallel draws whether the modules are asked at the same time, where the rule allows for it.
func (q question) parallel(t *rapid.T) bool {
	return q.rule != callbacksv1.Rule_FOLD && rapid.Bool().Draw(t, "parallel")
}

// run is one way that a walk can take.
type run struct {
	decision combine.Decision
	asked    []int
	saw      []proto.Message
	modules  []combine.Outcome // what was told of each in the end
	hurried  bool              // time ran out before all were told
}

// drive walks in an order of arrival that it draws. Outcomes arrive twice, late, or of modules there are none of, and
// sometimes time runs out: then those not heard of time out.
func drive(t *rapid.T, w *combine.Walk, q question, parallel bool) run {
	r := run{modules: slices.Clone(q.modules)}
	w.Start(q.rule, parallel, len(q.modules), q.request)
	var pending []int
	for {
		for i, request, ok := w.Next(); ok; i, request, ok = w.Next() {
			if i != len(r.asked) {
				t.Fatalf("module %d is asked after %v", i, r.asked)
			}
			r.asked, r.saw, pending = append(r.asked, i), append(r.saw, proto.Clone(request)), append(pending, i)
		}
		if w.Done() {
			break
		}
		switch rapid.IntRange(0, 9).Draw(t, "event") {
		case 0:
			r.hurry(t, w)
		case 1:
			r.noise(t, w, pending)
		default:
			i := rapid.SampledFrom(pending).Draw(t, "arrives")
			pending = slices.DeleteFunc(pending, func(j int) bool { return i == j })
			w.Tell(i, r.modules[i])
		}
	}
	r.decision = w.Decision()
	r.noise(t, w, nil)
	return r
}

// hurry tells that those not heard of timed out, in any order.
func (r *run) hurry(t *rapid.T, w *combine.Walk) {
	r.hurried = true
	var late []int
	for i := range r.modules {
		if w.Waiting(i) {
			late = append(late, i)
		}
	}
	for _, i := range rapid.Permutation(late).Draw(t, "expire") {
		late := combine.Outcome{Failure: rosterv1.FailureKind_TIMEOUT, Policy: r.modules[i].Policy}
		if late.Policy == callbacksv1.OnFailure_ON_FAILURE_UNSPECIFIED {
			late.Policy = callbacksv1.OnFailure_SKIP
		}
		if late.Policy == callbacksv1.OnFailure_REFUSE {
			late.Answer = r.modules[i].Answer
		}
		if w.Waiting(i) {
			r.modules[i] = late
		}
		w.Tell(i, late)
	}
}

// noise tells once more of modules that were told of, and of some that do not exist.
func (r *run) noise(t *rapid.T, w *combine.Walk, pending []int) {
	before := w.Decision()
	for i := range len(r.modules) + 2 {
		if !w.Waiting(i) && !slices.Contains(pending, i) {
			w.Tell(i, combinetest.Failure(t, nil))
		}
	}
	if diff := compare(before, w.Decision()); diff != "" {
		t.Fatalf("late news changed the decision:\n%s", diff)
	}
}

func compare(want, got combine.Decision) string {
	return cmp.Diff(want, got, protocmp.Transform(), cmpopts.EquateEmpty())
}

// raw is the decision as bytes.
func raw(t *rapid.T, d combine.Decision) string {
	answer, err := proto.MarshalOptions{Deterministic: true}.Marshal(d.Answer)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x %d %d %v", answer, d.By, d.FailedBy, d.Failures)
}

// The law of the package. With -rapid.checks=100000 it looks for longer.
func TestDecisionIsThatOfAskingInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := questions.Draw(t, "question")
		parallel := q.parallel(t)
		r := drive(t, &combine.Walk{}, q, parallel)
		want := combinetest.Interpret(q.rule, r.modules, q.request)
		if diff := compare(want.Decision, r.decision); diff != "" {
			t.Fatalf("the decision differs (-want +got):\n%s", diff)
		}
		asked, needed := len(r.saw), len(want.Saw)
		if asked > needed && !parallel || asked < needed && !r.hurried {
			t.Fatalf("%d modules were asked, of which %d were needed", asked, needed)
		}
		both := min(asked, needed)
		if diff := cmp.Diff(want.Saw[:both], r.saw[:both], protocmp.Transform(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("modules were asked something else (-want +got):\n%s", diff)
		}
	})
}

func TestOrderOfArrivalCannotBeTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := questions.Draw(t, "question")
		var walk combine.Walk // Used twice, as by a driver that pools them.
		one := drive(t, &walk, q, q.parallel(t))
		said := raw(t, one.decision)
		q.modules = one.modules
		other := drive(t, &walk, q, q.parallel(t))
		if !other.hurried && raw(t, other.decision) != said {
			t.Fatalf("one order: %s\nanother:   %s", said, raw(t, other.decision))
		}
		if raw(t, one.decision) != said {
			t.Fatalf("a later walk changed the decision: %s, was %s", raw(t, one.decision), said)
		}
	})
}

func TestAnswersAndRequestsAreOnlyRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := questions.Draw(t, "question")
		said := []proto.Message{q.request}
		for _, m := range q.modules {
			said = append(said, m.Answer)
		}
		var before [][]byte
		for _, m := range said {
			before = append(before, deterministic(t, m))
		}
		drive(t, &combine.Walk{}, q, q.parallel(t))
		for i, m := range said {
			if after := deterministic(t, m); !bytes.Equal(before[i], after) {
				t.Fatalf("message %d became %v", i, m)
			}
		}
	})
}

func deterministic(t *rapid.T, m proto.Message) []byte {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAbstainingModuleChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := questions.Draw(t, "question")
		first := 0
		if q.rule == callbacksv1.Rule_SOLE {
			first = min(1, len(q.modules)) // Whoever comes first is the sole one.
			if len(q.modules) == 0 {
				t.Skip("who is added is the sole one")
			}
		}
		at := rapid.IntRange(first, len(q.modules)).Draw(t, "at")
		parallel := q.parallel(t)
		without := drive(t, &combine.Walk{}, q, parallel)
		q.modules = slices.Insert(slices.Clone(without.modules), at, combine.Outcome{})
		with := drive(t, &combine.Walk{}, q, parallel)
		if with.hurried {
			t.Skip("other modules timed out")
		}
		if diff := compare(renumber(without.decision, at), with.decision); diff != "" {
			t.Fatalf("an abstaining module %d changed the decision:\n%s", at, diff)
		}
	})
}

func renumber(d combine.Decision, at int) combine.Decision {
	moved := func(module int) int {
		if module >= at {
			return module + 1
		}
		return module
	}
	d.By, d.FailedBy, d.Failures = moved(d.By), moved(d.FailedBy), slices.Clone(d.Failures)
	for i := range d.Failures {
		d.Failures[i].Module = moved(d.Failures[i].Module)
	}
	return d
}

// What modules make of a callback is what its rule says, so every rule that is declared must be among the questions.
func TestDeclaredRuleIsQuestioned(t *testing.T) {
	for _, d := range subjects.All() {
		if rule := d.Options.GetRule(); !slices.ContainsFunc(combinetest.Kinds, func(k combinetest.Kind) bool { return k.Rule() == rule }) {
			t.Errorf("%s: no question of rule %v", d.FullName(), rule)
		}
	}
}
