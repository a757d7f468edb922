package conformance_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// vectorsDir is where the records are, unless MODULEBUS_CONFORMANCE names another directory, of any versions and callbacks.
const vectorsDir = "testdata"

func vectorsIn(t *testing.T, dir string) []*vector {
	t.Helper()
	all, err := loadVectors(dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func directory() string {
	dir := os.Getenv("MODULEBUS_CONFORMANCE")
	if dir == "" {
		return vectorsDir
	}
	if _, err := os.Stat(dir); err != nil && !filepath.IsAbs(dir) {
		return filepath.Join(testbed.Root, dir) // The command was given in the module's directory, and tests run in the package's.
	}
	return dir
}

// TestConformance replays over TCP what real Synapses decided, and compares. It prints how many records agree, by callback,
// which go test shows with -v:
//
//	MODULEBUS_CONFORMANCE=DIR go test -v ./integration/conformance
//
// Each record says what modules did when the homeserver asked them something, and what it got. Here, one fake module
// for each of them says the same on the wire, a homeserver asks through bus.Client, and must get the same: the value, or
// the refusal with errcode, text, fields and status, or the failure; of the same module; after the same calls; and each
// module that was called must have seen the same. What the homeserver then does with an answer, Synapse's classes do
// before they return, and so it is done here too (the dialects' hear):
//
//   - media upload limits are sorted, the longest period first;
//   - user_may_send_state_event takes a code with further fields for M_FORBIDDEN without any;
//   - federated_user_may_invite goes on to user_may_invite;
//   - a login that nobody authenticates is refused, in words that depend on who registered what;
//   - no opinion on is_user_expired, and on batch sizes, leaves it to the configuration;
//   - the homeserver's own fields of an event's unsigned section stay.
//
// Exceptions are failures of a module, except Synapse's own errors out of on_create_room and check_event_allowed, which
// are refusals. Where Synapse passes an exception on to the client, or makes another of it, the ask must have failed.
//
// What differs by design is in one of the [classes], counted and printed. Everything else that differs is an error.
func TestConformance(t *testing.T) {
	t.Parallel()
	all, tally := vectorsIn(t, directory()), newTally()
	// Each stage has NATS to itself, so that scenes do not mix.
	for i, part := range parts(all, runtime.GOMAXPROCS(0)) {
		t.Run(fmt.Sprintf("part %d", i), func(t *testing.T) {
			t.Parallel()
			s := newStage(t, natstest.TCP(t), actorNames(all))
			for _, r := range part {
				tally.add(s.perform(t, r))
			}
		})
	}
	t.Cleanup(func() { tally.report(t) })
}

// TestConformanceInEachHome replays some records of every callback wherever NATS may live.
func TestConformanceInEachHome(t *testing.T) {
	t.Parallel()
	some := sample(vectorsIn(t, directory()), 12)
	natstest.Each(t, func(t *testing.T, home *natstest.Home) {
		s, tally := newStage(t, home, actorNames(some)), newTally()
		for _, r := range some {
			tally.add(s.perform(t, r))
		}
		tally.check(t)
	})
}

// TestConformanceNotices spoils what comes back from the bus, in one way after the other, and looks whether records that
// agree otherwise still do.
func TestConformanceNotices(t *testing.T) {
	t.Parallel()
	some := sample(vectorsIn(t, vectorsDir), 12)
	s := newStage(t, natstest.InProcess(t), actorNames(some))
	var agreeing []*vector
	for _, r := range some {
		if r.known() && len(s.perform(t, r).differences) == 0 {
			agreeing = append(agreeing, r)
		}
	}
	for _, spoil := range spoils {
		spoiled, noticed := map[string]int{}, map[string]int{}
		for _, r := range agreeing {
			did := false
			s.tamper = func(d *subjects.Declaration, got *bus.Decision[proto.Message], err *error) {
				did = spoil.do(s.scene, d, got, err) || did
			}
			if p := s.perform(t, r); did {
				spoiled[r.Callback]++
				noticed[r.Callback] += min(len(p.differences), 1)
			}
		}
		if len(spoiled) == 0 {
			t.Errorf("%s: nothing to spoil", spoil.name)
		}
		for callback, n := range spoiled {
			if noticed[callback] == 0 || spoil.always && noticed[callback] < n {
				t.Errorf("%s: %s: noticed only %d of %d", spoil.name, callback, noticed[callback], n)
			}
		}
	}
}

// spoils are ways to make a decision another one. They report whether they could. Those that are not noticed always leave
// some records as they are to the homeserver: an answer that adds nothing, or says what it would do anyway.
var spoils = []struct {
	name   string
	always bool
	do     func(*scene, *subjects.Declaration, *bus.Decision[proto.Message], *error) bool
}{
	{"an answer is lost", false, func(_ *scene, _ *subjects.Declaration, got *bus.Decision[proto.Message], _ *error) bool {
		had := got.Answer != nil
		got.Answer = nil
		return had
	}},
	{"a refusal is made up", true, func(_ *scene, d *subjects.Declaration, got *bus.Decision[proto.Message], err *error) bool {
		if got.Answer != nil || *err != nil || !d.CanRefuse() {
			return false
		}
		got.Answer = d.Refused(&callbacksv1.Refusal{Errcode: "M_FORBIDDEN"})
		return true
	}},
	{"words are lost", true, func(_ *scene, _ *subjects.Declaration, got *bus.Decision[proto.Message], _ *error) bool {
		r := refusal(got.Answer)
		if r.GetError() == "" {
			return false
		}
		r.Error = ""
		return true
	}},
	{"a failure is lost", true, func(_ *scene, _ *subjects.Declaration, _ *bus.Decision[proto.Message], err *error) bool {
		had := *err != nil
		*err = nil
		return had
	}},
	{"a failure is made up", true, func(_ *scene, d *subjects.Declaration, got *bus.Decision[proto.Message], err *error) bool {
		if *err != nil {
			return false
		}
		*err = &bus.Error{Callback: d.FullName(), Module: got.DecidedBy, Kind: rosterv1.FailureKind_ERROR}
		return true
	}},
	{"another module decided", true, func(_ *scene, d *subjects.Declaration, got *bus.Decision[proto.Message], _ *error) bool {
		rule := d.Options.GetRule()
		if got.DecidedBy == "" || rule != callbacksv1.Rule_FIRST && rule != callbacksv1.Rule_SOLE {
			return false
		}
		got.DecidedBy += "'s neighbour"
		return true
	}},
	{"a call is lost", true, func(s *scene, _ *subjects.Declaration, _ *bus.Decision[proto.Message], _ *error) bool {
		if len(s.vector.steps()) == 0 || len(s.asked) == 0 {
			return false
		}
		first := s.vector.steps()[0]
		s.asked = slices.DeleteFunc(s.asked, func(c question) bool { return c.cue == first })
		return true
	}},
}

// parts deals the records out.
func parts(all []*vector, n int) [][]*vector {
	out := make([][]*vector, n)
	for i, r := range all {
		out[i%n] = append(out[i%n], r)
	}
	return out
}

// sample has one in n of the records of each callback and version.
func sample(all []*vector, n int) (some []*vector) {
	seen := map[group]int{}
	for _, r := range all {
		if seen[r.group()]%n == 0 {
			some = append(some, r)
		}
		seen[r.group()]++
	}
	return some
}

// actorNames are those of all modules.
func actorNames(all []*vector) []string {
	known := map[string]bool{}
	for _, r := range all {
		for _, m := range r.Modules {
			known[m.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(known))
}
