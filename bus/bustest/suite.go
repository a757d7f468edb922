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

// Homeserver has a homeserver do, once, what a callback is about, as one of its users would: create a room, for example. It uses the
// client that it is given. It returns nil when it was done, and else what the user is told.
type Homeserver func(ctx context.Context, modules *bus.Client) error

// Errcode is the error code with which a homeserver's error refuses something; empty where it is another error.
type Errcode func(error) string

// Gate holds a homeserver to what it owes a callback that can refuse: it asks once, with a request that says something; goes on where no
// module has an opinion; tells the user a refusal with the module's error code; and where a module fails, or nobody can be asked,
// does neither go on nor pretend that somebody has refused. Each situation is a test of its own, and has a client of its own.
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

// outcome is what a homeserver has to do.
type outcome struct {
	refused string // with this error code
	failed  bool   // with an error that refuses nothing; else it goes on
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

// situation is one in which the homeserver is tried.
type situation struct {
	name    string
	scripts []Script
	closed  bool // the client is
	want    outcome
	asked   *atomic.Int32 // nil where nobody is asked
	empty   *atomic.Bool  // a request said nothing
}

const limited = "M_LIMIT_EXCEEDED"

// situations are all of them, for one callback.
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

// try has the homeserver do it, and says what is wrong with what it did.
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
