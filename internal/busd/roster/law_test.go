package roster_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// names are few, so that modules, workers and paths meet.
func names(prefix string) *rapid.Generator[string] {
	return rapid.Map(rapid.IntRange(1, 4), func(i int) string { return fmt.Sprint(prefix, i) })
}

var registrations = rapid.SliceOfN(rapid.OneOf(
	rapid.SampledFrom([]string{createRoom, checkEvent, registered, states, interested, "spam_checker.unknown", "/_matrix/x"}),
	names(hello+"/"),
), 0, 6)

// arrival is a join as a worker says it.
type arrival struct {
	module string
	join   *rosterv1.Join
}

var arrivals = rapid.Custom(func(t *rapid.T) arrival {
	return arrival{names("module-").Draw(t, "module"), join(names("worker-").Draw(t, "worker"), registrations.Draw(t, "registers")...)}
})

// lists are the operator's: some of the modules there are, in some order.
var lists = rapid.Custom(func(t *rapid.T) []config.Module {
	var list []config.Module
	for _, name := range rapid.SliceOfNDistinct(names("module-"), 0, 4, rapid.ID[string]).Draw(t, "listed") {
		list = append(list, listed(name))
	}
	return list
})

// content is a roster but for its revision.
func content(r *roster.Roster) *rosterv1.Roster {
	c := proto.CloneOf(r.Snapshot())
	c.Revision = 0
	return c
}

// workless is the content but for who the workers are.
func workless(r *roster.Roster) *rosterv1.Roster {
	c := content(r)
	for _, m := range c.GetModules() {
		m.Workers = nil
	}
	return c
}

func TestOrderOfJoinsDoesNotChangeTheRoster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := lists.Draw(t, "list")
		identity := func(a arrival) string { return a.module + " " + a.join.GetWorker() }
		some := rapid.SliceOfDistinct(arrivals, identity).Draw(t, "joins")
		one, other := listing(list...), listing(list...)
		for _, a := range some {
			one.Join(a.module, a.join, start)
		}
		for _, a := range rapid.Permutation(some).Draw(t, "another order") {
			other.Join(a.module, a.join, start)
		}
		if !proto.Equal(content(one), content(other)) {
			t.Fatalf("%v\nis not\n%v", one.Snapshot(), other.Snapshot())
		}
	})
}

func TestSecondWorkerOfTheSameChangesNothingButTheirNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := listing(lists.Draw(t, "list")...)
		for _, a := range rapid.SliceOf(arrivals).Draw(t, "joins") {
			a.join.Worker = "only" // Workers that differ are another test's.
			r.Join(a.module, a.join, start)
		}
		last := arrivals.Draw(t, "last")
		last.join.Worker = "only"
		r.Join(last.module, last.join, start)
		parts, before := workless(r), r.Modules()
		last.join.Worker = "another"
		r.Join(last.module, last.join, start.Add(time.Second))
		if !proto.Equal(workless(r), parts) {
			t.Fatalf("%v\nis not\n%v", workless(r), parts)
		}
		i := slices.IndexFunc(before, func(s roster.Status) bool { return s.Name == last.module })
		before[i].Workers++
		after := r.Modules()
		if n := len(after[i].WorkerList); n != before[i].Workers {
			t.Fatalf("%d workers are listed", n)
		}
		before[i].WorkerList, after[i].WorkerList = nil, nil
		equalStatus(t, before, after)
	})
}

func equalStatus(t *rapid.T, want, got []roster.Status) {
	if fmt.Sprint(want) != fmt.Sprint(got) {
		t.Fatalf("want %+v\ngot  %+v", want, got)
	}
}

func TestRevisionGrowsWithEachChangeAndOnlyThen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, now := listing(), start
		last, lastContent := r.Snapshot(), content(r)
		t.Repeat(map[string]func(*rapid.T){
			"configure": func(t *rapid.T) { r.Configure(lists.Draw(t, "list"), 2*time.Second, now) },
			"join": func(t *rapid.T) {
				a := arrivals.Draw(t, "join")
				r.Join(a.module, a.join, now)
			},
			"leave": func(t *rapid.T) {
				r.Leave(names("module-").Draw(t, "module"), names("worker-").Draw(t, "worker"), now)
			},
			"entry":  func(t *rapid.T) { r.Entry(names("module-").Draw(t, "module"), now) },
			"crash":  func(t *rapid.T) { r.Crashed(names("module-").Draw(t, "module"), "exit status 1", now) },
			"expire": func(*rapid.T) { r.Expire(now) },
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(-5, 20).Draw(t, "seconds")) * time.Second) // Clocks are set back, too.
			},
			"": func(t *rapid.T) {
				same := proto.Equal(content(r), lastContent)
				if got := r.Snapshot(); same != (got == last) || got.GetRevision() < last.GetRevision() || !same && got.GetRevision() == last.GetRevision() {
					t.Fatalf("after %v came %v", last, got)
				}
				last, lastContent = r.Snapshot(), content(r)
			},
		})
	})
}

func TestListedModuleIsInTheRosterInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := listing(lists.Draw(t, "first list")...)
		for _, a := range rapid.SliceOf(arrivals).Draw(t, "joins") {
			r.Join(a.module, a.join, start)
		}
		list := lists.Draw(t, "list")
		r.Configure(list, 2*time.Second, start)
		var want, got []string
		for _, m := range list {
			want = append(want, m.Name)
		}
		paths := map[string]string{}
		for _, m := range r.Snapshot().GetModules() {
			got = append(got, m.GetName())
			for _, path := range m.GetWebResources() {
				if owner, ok := webpath.Longest(paths, path); ok && owner != m.GetName() {
					t.Fatalf("%s is module %s's, and lies below a path of module %s, which is earlier", path, m.GetName(), owner)
				}
				paths[path] = m.GetName()
			}
		}
		if !slices.Equal(want, got) {
			t.Fatalf("listed are %q, in the roster %q", want, got)
		}
	})
}

// TestPartsThatAreKeptAreRight makes all parts anew after each change: nothing may differ.
func TestPartsThatAreKeptAreRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, now := listing(), start
		if rapid.Bool().Draw(t, "there is little room") {
			r.SetRoom(200)
		}
		odd := func(list []config.Module) []config.Module {
			for i := range list {
				list[i].Shadow = rapid.Bool().Draw(t, "shadow")
				list[i].Grants = rapid.SliceOfN(rapid.Just("rooms.send"), 0, 1).Draw(t, "grants")
				if rapid.Bool().Draw(t, "named") {
					list[i].Callbacks = map[string]config.Override{checkEvent: {}}
				}
			}
			return list
		}
		t.Repeat(map[string]func(*rapid.T){
			"configure": func(t *rapid.T) { r.Configure(odd(lists.Draw(t, "list")), 2*time.Second, now) },
			"join": func(t *rapid.T) {
				a := arrivals.Draw(t, "join")
				r.Join(a.module, a.join, now)
			},
			"refuse": func(t *rapid.T) {
				j := join(names("worker-").Draw(t, "worker"))
				j.ConfigError = &rosterv1.ConfigError{Error: "no"}
				r.Join(names("module-").Draw(t, "module"), j, now)
			},
			"leave": func(t *rapid.T) {
				r.Leave(names("module-").Draw(t, "module"), names("worker-").Draw(t, "worker"), now)
			},
			"recall": func(t *rapid.T) {
				other := listing(lists.Draw(t, "other list")...)
				a := arrivals.Draw(t, "join there")
				other.Join(a.module, a.join, now)
				if rapid.Bool().Draw(t, "at the start") {
					r.Recall(other.Snapshot(), now)
				} else {
					r.Learn(other.Snapshot(), now)
				}
			},
			"crash":       func(t *rapid.T) { r.Crashed(names("module-").Draw(t, "module"), "exit status 1", now) },
			"expire":      func(*rapid.T) { r.Expire(now) },
			"time passes": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second) },
			"": func(t *rapid.T) {
				kept := r.Snapshot()
				if r.Remake(now); r.Snapshot() != kept {
					t.Fatalf("kept %v\nwould be %v", kept, r.Snapshot())
				}
			},
		})
	})
}

// TestJoinCostsItsOwnModule counts what is made when a thousand modules join, and join again.
func TestJoinCostsItsOwnModule(t *testing.T) {
	t.Parallel()
	const modules = 1000
	var list []config.Module
	for n := range modules {
		list = append(list, listed(fmt.Sprint("module-", n)))
	}
	r := listing(list...)
	configured := r.Made()
	all := func() (made int) {
		before := r.Made()
		for _, m := range list {
			r.Join(m.Name, join("w", createRoom, fmt.Sprintf("%s/%s", hello, m.Name)), start)
		}
		return r.Made() - before
	}
	if first := all(); configured > modules || first > modules {
		t.Errorf("%d parts were made at the start, and %d when %d modules joined", configured, first, modules)
	}
	revision := r.Snapshot().GetRevision()
	if again := all(); again != 0 || r.Snapshot().GetRevision() != revision {
		t.Errorf("%d parts were made when the same joined again", again)
	}
}
