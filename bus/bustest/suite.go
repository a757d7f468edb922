package bustest

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Homeserver makes a homeserver do once what a callback is about, as a user would: create a room, for example. The
// homeserver must ask with the given client. Homeserver returns nil if it was done, and otherwise the error that the
// user is told.
type Homeserver func(ctx context.Context, modules *bus.Client) error

// Errcode returns the Matrix error code of an error that refuses something; empty for any other error.
type Errcode func(error) string

// Gate tests a homeserver's use of a callback that can refuse. The homeserver must ask once, with a request that is not
// empty; go on if no module has an opinion; and tell the user of a refusal with the module's error code. If a module
// fails, or no module can be asked, it must neither go on nor claim that a module refused. Each situation is a test of
// its own, and has a client of its own.
func Gate[Request, Reply proto.Message](t *testing.T, cb subjects.Callback[Request, Reply], do Homeserver, code Errcode) {
	t.Helper()
	if !cb.CanRefuse() {
		t.Fatalf("%s cannot be refused", cb.FullName())
	}
	for _, s := range situations(cb) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if wrong := s.try(t, do, code); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// outcome is what the homeserver must do.
type outcome struct {
	refused string // it must refuse with this error code
	failed  bool   // it must fail with an error that refuses nothing
}

func (o outcome) String() string {
	switch {
	case o.refused != "":
		return "refuses with " + o.refused
	case o.failed:
		return "fails, without a refusal"
	}
	return "goes on"
}

// situation is a situation in which the homeserver is tested.
type situation struct {
	name    string
	scripts []Script
	closed  bool // the client is closed
	want    outcome
	asked   *atomic.Int32 // counts requests; nil if no module is asked
	empty   *atomic.Bool  // a request was empty
}

const limited = "M_LIMIT_EXCEEDED"

// situations returns all situations for one callback.
func situations[Request, Reply proto.Message](cb subjects.Callback[Request, Reply]) []situation {
	var silent Reply
	refusing := cb.Refused(&callbacksv1.Refusal{Errcode: limited, Error: "a module says so"}).(Reply)
	byPolicy := cmp.Or(cb.Options.GetRefusal().GetErrcode(), "M_FORBIDDEN")
	on := func(p callbacksv1.OnFailure) Script { return Fail(cb, rosterv1.FailureKind_ERROR).OnFailure(p) }
	asked, empty := new(atomic.Int32), new(atomic.Bool)
	counted := Func(cb, func(_ context.Context, req Request) (Reply, error) {
		asked.Add(1)
		empty.Store(empty.Load() || proto.Size(req) == 0)
		return silent, nil
	})
	return []situation{
		{name: "there is no module"},
		{name: "no module has an opinion", scripts: []Script{counted}, asked: asked, empty: empty},
		{name: "a module refuses", scripts: []Script{Answer(cb, refusing)}, want: outcome{refused: limited}},
		{name: "the second module refuses", scripts: []Script{Answer(cb, silent), Answer(cb, refusing).By("second")}, want: outcome{refused: limited}},
		{name: "a failure is skipped", scripts: []Script{on(callbacksv1.OnFailure_SKIP)}},
		{
			name:    "a failure is skipped, and another module refuses",
			scripts: []Script{on(callbacksv1.OnFailure_SKIP), Answer(cb, refusing).By("second")}, want: outcome{refused: limited},
		},
		{name: "a failure refuses", scripts: []Script{on(callbacksv1.OnFailure_REFUSE)}, want: outcome{refused: byPolicy}},
		{name: "a failure fails", scripts: []Script{on(callbacksv1.OnFailure_FAIL)}, want: outcome{failed: true}},
		{
			name:    "a module is away",
			scripts: []Script{Fail(cb, rosterv1.FailureKind_ABSENT).OnFailure(callbacksv1.OnFailure_FAIL)}, want: outcome{failed: true},
		},
		{name: "nobody can be asked any more", scripts: []Script{Answer(cb, silent)}, closed: true, want: outcome{failed: true}},
	}
}

// try runs the homeserver, and says what is wrong with what it did; empty if nothing is.
func (s situation) try(tb testing.TB, do Homeserver, code Errcode) (wrong string) {
	tb.Helper()
	modules := New(tb, s.scripts...)
	if s.closed {
		modules.Close()
	}
	err := do(tb.Context(), modules)
	got := outcome{}
	if err != nil {
		got = outcome{refused: code(err)}
		got.failed = got.refused == ""
	}
	switch {
	case got != s.want:
		return fmt.Sprintf("%s: the homeserver %v (%v); want one that %v", s.name, got, err, s.want)
	case s.asked != nil && s.asked.Load() != 1:
		return fmt.Sprintf("modules were asked %d times, and not once", s.asked.Load())
	case s.empty != nil && s.empty.Load():
		return "the request that modules get says nothing"
	}
	return ""
}
