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

// Use makes a homeserver do once what a callback is about, such as serving an event to a client, or creating a room.
// The homeserver must ask with the given client. Use returns the result as a text, the same text for the same result,
// or the error that the user is told.
type Use func(ctx context.Context, modules *bus.Client) (made string, err error)

// Answers tests a homeserver's use of a callback whose answers change what it does, above all a callback that merges
// the answers of all modules, or passes one module's answer to the next (MERGE and FOLD). The homeserver must ask once,
// with a request that is not empty; answers of several modules must have the same effect as one module that gives all
// of them; and if a module fails, or no module can be asked, the module's policy must apply. first and second are two
// different answers, each of which must change the result. Each situation is a test of its own.
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

// use is a situation in which the homeserver is tested.
type use struct {
	name    string
	scripts []Script
	closed  bool                                    // the client is closed
	like    func(testing.TB, proto.Message) *Script // one module whose answer must give the same result; nil for none
	fails   bool
	differs bool // the result must differ from the result without modules
	once    bool // modules must be asked exactly once

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

// first returns the first request, and how many there were.
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

// try runs the homeserver, and says what is wrong with the result; empty if nothing is.
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

// counted says what is wrong with how often, and with what, modules were asked.
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

// compare says how the result differs from that of one module which gives all the answers.
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
