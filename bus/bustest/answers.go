package bustest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Use has a homeserver do, once, what a callback is about, with the client that it is given: serve an event to a client, or create a
// room, for example. It returns what came of it, as a text that is the same for the same, or what the user is told.
type Use func(ctx context.Context, modules *bus.Client) (made string, err error)

// Answers holds a homeserver to what it owes a callback whose answers it uses, above all those that merge the answers of all modules or
// hand one module's on to the next (MERGE and FOLD): it asks once, with a request that says something; what modules say together
// shows, as if one had said all of it; and where a module fails, or nobody can be asked, its policy holds. first and second are
// answers that differ, of which each changes what comes of it. Each situation is a test of its own.
func Answers[Request, Reply proto.Message](t *testing.T, cb subjects.Callback[Request, Reply], do Use, first, second Reply) {
	t.Helper()
	for _, u := range uses(cb, first, second) {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			if wrong := u.try(t, do); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// use is a situation in which the homeserver is tried.
type use struct {
	name    string
	scripts []Script
	closed  bool                                    // the client is
	like    func(testing.TB, proto.Message) *Script // one module whose answer has to come to the same; nil for none
	fails   bool
	differs bool // from what comes of it where there is no module
	once    bool // modules are asked so often

	heard *heard
}

// heard is what modules were asked.
type heard struct {
	mu       sync.Mutex
	requests []proto.Message
}

func (h *heard) note(req proto.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, proto.Clone(req))
}

// first is what they were asked first, and how often.
func (h *heard) first() (req proto.Message, times int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.requests) > 0 {
		req = h.requests[0]
	}
	return req, len(h.requests)
}

func uses[Request, Reply proto.Message](cb subjects.Callback[Request, Reply], first, second Reply) []use {
	var silent Reply
	once, twice := &heard{}, &heard{}
	saying := func(reply Reply, h *heard) Script {
		return Func(cb, func(_ context.Context, req Request) (Reply, error) { h.note(req); return reply, nil })
	}
	failing := Fail(cb, rosterv1.FailureKind_ERROR)
	both := []Script{saying(first, twice), saying(second, twice).By("second")}
	one := func(testing.TB, proto.Message) *Script { s := Answer(cb, first); return &s }
	together := func(tb testing.TB, req proto.Message) *Script {
		tb.Helper()
		d, err := New(tb, both...).Ask(tb.Context(), cb, req)
		reply, ok := d.Answer.(Reply)
		if err != nil || !ok {
			return nil
		}
		s := Answer(cb, reply)
		return &s
	}
	return []use{
		{name: "no module has an opinion", scripts: []Script{saying(silent, once)}, once: true, heard: once},
		{name: "a module answers", scripts: []Script{Answer(cb, first)}, differs: true},
		{name: "two modules answer", scripts: both, like: together, differs: true, heard: twice},
		{name: "a failure is skipped", scripts: []Script{failing.OnFailure(callbacksv1.OnFailure_SKIP)}},
		{
			name:    "a failure is skipped, and another module answers",
			scripts: []Script{failing.OnFailure(callbacksv1.OnFailure_SKIP), Answer(cb, first).By("second")}, like: one, differs: true,
		},
		{name: "a failure fails", scripts: []Script{failing.OnFailure(callbacksv1.OnFailure_FAIL)}, fails: true},
		{name: "nobody can be asked any more", scripts: []Script{Answer(cb, first)}, closed: true, fails: true},
	}
}

// try has the homeserver do it, and says what is wrong with what came of it.
func (u use) try(tb testing.TB, do Use) (wrong string) {
	tb.Helper()
	alone, err := do(tb.Context(), New(tb))
	if err != nil {
		return fmt.Sprintf("there is no module, and it fails: %v", err)
	}
	modules := New(tb, u.scripts...)
	if u.closed {
		modules.Close()
	}
	made, err := do(tb.Context(), modules)
	switch {
	case u.fails && err == nil:
		return fmt.Sprintf("%s: it goes on, and %q comes of it; want an error", u.name, made)
	case u.fails:
		return ""
	case err != nil:
		return fmt.Sprintf("%s: it fails: %v", u.name, err)
	case u.differs != (made != alone):
		return fmt.Sprintf("%s: %q comes of it, and %q where there is no module", u.name, made, alone)
	}
	if wrong := u.counted(); wrong != "" {
		return wrong
	}
	return u.compare(tb, do, made)
}

// counted says what is wrong with how modules were asked.
func (u use) counted() string {
	if !u.once {
		return ""
	}
	switch req, times := u.heard.first(); {
	case times != 1:
		return fmt.Sprintf("%s: modules were asked %d times, and not once", u.name, times)
	case proto.Size(req) == 0:
		return "the request that modules get says nothing"
	}
	return ""
}

// compare wants the same to come of one module that says it all.
func (u use) compare(tb testing.TB, do Use, made string) string {
	tb.Helper()
	if u.like == nil {
		return ""
	}
	var req proto.Message
	if u.heard != nil {
		req, _ = u.heard.first()
	}
	one := u.like(tb, req)
	if one == nil {
		return "the two answers come to nothing together: give others"
	}
	if want, err := do(tb.Context(), New(tb, *one)); err != nil || want != made {
		return fmt.Sprintf("%s: %q comes of it, and %q (%v) where one module says the same", u.name, made, want, err)
	}
	return ""
}
