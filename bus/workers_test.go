package bus_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

var (
	mayCreate = subjects.UserMayCreateRoom.Declaration
	gone      = &nats.Msg{Header: nats.Header{"Status": {"503"}}}
)

// then plays replies in the order of a module's requests; each takes its time. Then nothing comes.
func then(all ...arrival) func(*exchange) []arrival {
	return func(x *exchange) []arrival {
		if x.nth >= len(all) || all[x.nth].reply == nil {
			return nil
		}
		return all[x.nth : x.nth+1]
	}
}

// busyThenUnsendable is a module that is busy, on a connection that takes no request after that.
func busyThenUnsendable(x *exchange) []arrival {
	if x.nth > 0 {
		return unsendable
	}
	return []arrival{{0, failure(busy)}}
}

// ask asks whether a room may be created, and how long that took.
func ask(ctx context.Context, c *bus.Client) (bus.Decision[*verdict], time.Duration, error) {
	start := time.Now()
	got, err := c.SpamChecker.UserMayCreateRoom(ctx, &question{})
	return got, time.Since(start), err
}

func TestWorkers(t *testing.T) {
	t.Parallel()
	const second = time.Second
	one, three := []string{"w0"}, []string{"w0", "w1", "w2"}
	refusal := data(denied("A"))
	for name, tt := range map[string]struct {
		workers []string
		hedge   time.Duration
		script  func(*exchange) []arrival
		want    rosterv1.FailureKind // 0 for the refusal
		asked   int
		named   int // of those asked
		took    time.Duration
	}{
		"one that is idle answers":                      {three, 0, then(arrival{1 * second, refusal}), 0, 1, 1, 1 * second},
		"one that is busy leaves it to another at once": {three, 0, then(arrival{1 * second, failure(busy)}, arrival{1 * second, refusal}), 0, 2, 2, 2 * second},
		"one that is gone leaves it to another at once": {three, 0, then(arrival{0, gone}, arrival{0, refusal}), 0, 2, 2, 0},
		"one to which it did not come with others gets it alone": {
			three, 0, then(arrival{1 * second, natsrequest.Alone}, arrival{1 * second, refusal}), 0, 2, 1, 2 * second,
		},
		"it comes back with others, and the worker is gone": {
			three, 0, then(arrival{0, natsrequest.Alone}, arrival{0, gone}, arrival{0, refusal}), 0, 3, 2, 0,
		},
		"all are busy":            {three, 0, replies(failure(busy)), busy, 4, 3, 0},
		"all are gone":            {three, 0, replies(gone), absent, 4, 3, 0},
		"nobody is known by name": {nil, 0, replies(failure(busy)), busy, 1, 0, 0},
		"the only one is busy, and unknown by its name": {one, 0, then(arrival{0, failure(busy)}, arrival{0, gone}), busy, 2, 1, 0},
		"one is busy, and nobody known by name":         {three, 0, then(arrival{0, failure(busy)}, arrival{0, gone}, arrival{0, gone}, arrival{0, gone}), busy, 4, 3, 0},
		"one is gone, and the next is busy":             {one, 0, then(arrival{0, gone}, arrival{0, failure(busy)}), busy, 2, 1, 0},
		"one fails, and the second is gone":             {three[:2], 2 * second, then(arrival{3 * second, failure(failed)}, arrival{0, gone}), failed, 2, 2, 3 * second},
		"one is busy, and then nobody can be asked":     {one, 0, busyThenUnsendable, busy, 2, 1, 0},
		"one that fails fails for all":                  {three, 0, replies(failure(failed)), failed, 1, 1, 0},
		"a second is asked when the first takes long":   {three, 2 * second, then(arrival{}, arrival{1 * second, refusal}), 0, 2, 2, 3 * second},
		"no second is asked when the first does not":    {three, 2 * second, then(arrival{1 * second, refusal}), 0, 1, 1, 1 * second},
		"the first may be the first after all":          {three, 2 * second, then(arrival{3 * second, refusal}, arrival{4 * second, data(denied("B"))}), 0, 2, 2, 3 * second},
		"an error of the first waits for the second":    {three, 2 * second, then(arrival{3 * second, failure(failed)}, arrival{4 * second, refusal}), 0, 2, 2, 6 * second},
		"an error of the second waits for the first":    {three, 2 * second, then(arrival{5 * second, refusal}, arrival{1 * second, failure(failed)}), 0, 2, 2, 5 * second},
		"an error of the first alone is the module's":   {three, 2 * second, then(arrival{1 * second, failure(failed)}), failed, 1, 1, 1 * second},
		"errors of both are the module's":               {three, 2 * second, then(arrival{3 * second, failure(failed)}, arrival{2 * second, failure(panicked)}), panicked, 2, 2, 4 * second},
		"a second that is busy leaves it to a third":    {three, 2 * second, then(arrival{}, arrival{0, failure(busy)}, arrival{1 * second, refusal}), 0, 3, 3, 3 * second},
		"nobody is asked twice":                         {three, 2 * second, then(arrival{1 * second, failure(busy)}, arrival{0, failure(busy)}, arrival{4 * second, refusal}), 0, 3, 3, 5 * second},
		"neither answers":                               {three, 2 * second, then(), timeout, 2, 2, 10 * second},
		"there is no second":                            {one, 2 * second, then(arrival{3 * second, refusal}), 0, 1, 0, 3 * second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				i := &rosterv1.Interest{TimeoutMs: 10_000, HedgeMs: uint32(tt.hedge.Milliseconds()), OnFailure: skip}
				c, line := simulated(t, tt.script, module(mayCreate, "a", i, tt.workers...))
				got, took, err := ask(t.Context(), c)
				wanted := bus.Decision[*verdict]{Answer: denied("A"), DecidedBy: "a", RosterRevision: 1}
				if tt.want != 0 {
					wanted = bus.Decision[*verdict]{Failures: []bus.Failure{{Module: "a", Kind: tt.want, Policy: skip}}, RosterRevision: 1}
				}
				if diff := cmp.Diff(wanted, got, protocmp.Transform(), wordless); diff != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
				if took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if xs := line.of("a"); len(xs) != tt.asked || named(xs) != tt.named {
					t.Errorf("asked %s, want %d of whom %d by name", asked(xs), tt.asked, tt.named)
				}
				if line.waiting != 0 {
					t.Errorf("%d replies are still waited for", line.waiting)
				}
			})
		})
	}
}

// named counts workers that were asked by name.
func named(xs []*exchange) int {
	names := map[string]bool{}
	for _, x := range xs {
		names[x.worker] = true
	}
	delete(names, "")
	return len(names)
}

func TestCallbackWithSideEffectsIsAskedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := subjects.CheckEventAllowed.Declaration
		i := &rosterv1.Interest{TimeoutMs: 3000, HedgeMs: 1000, OnFailure: skip}
		c, line := simulated(t, then(), module(d, "a", i, "w0", "w1"))
		got, err := c.ThirdPartyRules.CheckEventAllowed(t.Context(), &callbacksv1.CheckEventAllowedRequest{})
		if err != nil || len(got.Failures) != 1 || got.Failures[0].Kind != timeout || len(line.of("a")) != 1 {
			t.Errorf("got %v, %v; asked %s", got, err, asked(line.of("a")))
		}
	})
}

// Each ten answers pay for one second request, so that a module that is slow everywhere is not asked twice as often.
func TestSecondRequestsHaveABudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reply := arrival{2 * time.Second, data(&verdict{})}
		c, line := simulated(t, func(*exchange) []arrival { return []arrival{reply} },
			module(mayCreate, "a", &rosterv1.Interest{TimeoutMs: 10_000, HedgeMs: 1000, OnFailure: skip}, "w0", "w1"))
		const asks = 1000
		for range asks {
			if _, _, err := ask(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		saved, earned := 10, asks/10
		if hedged := len(line.of("a")) - asks; hedged < earned || hedged > saved+earned {
			t.Errorf("%d of %d requests were sent twice, want %d and at most %d more", hedged, asks, earned, saved)
		}
	})
}

// stalled is a line that holds up whoever sends to one module, as if the process had been stopped for a while.
type stalled struct {
	*sim

	module string
}

// Send implements [natsrequest.Requester].
func (s stalled) Send(to natsrequest.Receiver, i int, r natsrequest.Request) (natsrequest.Ticket, error) {
	ticket, err := s.sim.Send(to, i, r)
	if strings.HasSuffix(r.Subject, "."+s.module) {
		after(2 * time.Second)
	}
	return ticket, err
}

func TestReplyThatHasComeCountsThoughItIsSeenLate(t *testing.T) {
	t.Parallel()
	for range 20 { // Of an answer and a timer, either might be seen first.
		synctest.Test(t, func(t *testing.T) {
			line := &sim{script: func(x *exchange) []arrival {
				return []arrival{{time.Second / 2, data(&verdict{})}}
			}}
			i := func() *rosterv1.Interest { return &rosterv1.Interest{TimeoutMs: 1000, OnFailure: fail} }
			roster := &rosterv1.Roster{Revision: 1, Modules: []*rosterv1.Module{module(mayCreate, "a", i()), module(mayCreate, "b", i())}}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second/2)
			defer cancel()
			if got, _, err := ask(ctx, over(t, stalled{line, "b"}, roster)); err != nil || got.Failures != nil {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// by plays what each worker does; whoever NATS chooses does nothing.
func by(workers map[string]func(*exchange) []arrival) func(*exchange) []arrival {
	return func(x *exchange) []arrival {
		if does := workers[x.worker]; does != nil {
			return does(x)
		}
		return nil
	}
}

// pair is a module of two workers, of which one does not answer, for a callback that may be asked twice or not.
func pair(t *testing.T, d *subjects.Declaration, quiet func(*exchange) []arrival) (*bus.Client, *sim) {
	i := &rosterv1.Interest{TimeoutMs: 1000, BreakerFailures: 3, BreakerOpenMs: 10_000, OnFailure: skip}
	return simulated(t, by(map[string]func(*exchange) []arrival{"w0": quiet, "w1": replies(&nats.Msg{})}), module(d, "a", i, "w0", "w1"))
}

func nothing(*exchange) []arrival { return nil }

// until asks until the worker has been asked so often.
func until(t *testing.T, c *bus.Client, line *sim, d *subjects.Declaration, worker string, times int) {
	t.Helper()
	for range 1000 {
		if strings.Count(asked(line.of("a")), worker) == times {
			return
		}
		if _, err := c.Ask(t.Context(), d, d.NewRequest()); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("worker %s was not asked %d times", worker, times)
}

func TestWorkerThatSaysNothingIsLeftAloneForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := subjects.CheckEventAllowed.Declaration
		c, line := pair(t, d, nothing)
		until(t, c, line, d, "w0", 1)
		for range 100 {
			if got, err := c.Ask(t.Context(), d, d.NewRequest()); err != nil || len(got.Failures) > 0 {
				t.Fatalf("got %v, %v", got, err)
			}
		}
		after(11 * time.Second)
		until(t, c, line, d, "w0", 2) // It may show itself, and does not.
		for range 100 {
			if got, err := c.Ask(t.Context(), d, d.NewRequest()); err != nil || len(got.Failures) > 0 {
				t.Fatalf("got %v, %v", got, err)
			}
		}
	})
}

// What is stopped leaves the roster, and not NATS's queue group. So the group may say nothing, or half of the time, though the
// only worker of the roster is well.
func TestOnlyWorkerIsAskedWhereItAnswers(t *testing.T) {
	t.Parallel()
	answer, d := replies(data(denied("A"))), subjects.CheckEventAllowed.Declaration
	both, group := map[string]func(*exchange) []arrival{"w0": answer, "w1": answer, "": answer}, map[string]func(*exchange) []arrival{"": answer}
	for name, tt := range map[string]struct {
		callback *subjects.Declaration
		batch    uint32
		before   int // questions that are asked while there are two workers
		workers  map[string]func(*exchange) []arrival
		failed   int // of ten
		asked    string
	}{
		"which nothing is known of":                       {d, 0, 0, both, 0, "* * *"},
		"which has answered under its name":               {d, 0, 50, both, 0, "w0 w0 w0"},
		"which says that it listens there":                {d, 1, 0, both, 0, "w0 w0 w0"},
		"whose group is silent, and asking twice is safe": {mayCreate, 0, 0, map[string]func(*exchange) []arrival{"w0": answer}, 0, "* w0 w0 w0"},
		"whose group is silent, and asking twice is not":  {d, 0, 0, map[string]func(*exchange) []arrival{"w0": answer}, 1, "* w0 w0"},
		"which is not there under its name, it says":      {d, 1, 0, map[string]func(*exchange) []arrival{"": answer, "w0": replies(gone)}, 0, "w0 * * *"},
		"which hears nothing under its name, it says":     {d, 1, 0, group, 1, "w0 * *"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := func(workers ...string) *rosterv1.Module {
					m := module(tt.callback, "a", &rosterv1.Interest{TimeoutMs: 1000, BreakerOpenMs: 60_000, OnFailure: skip}, workers...)
					m.Batch = tt.batch
					return m
				}
				ask := func(c *bus.Client, times int) (failed int) {
					for range times {
						got, err := c.Ask(t.Context(), tt.callback, tt.callback.NewRequest())
						if err != nil {
							t.Fatal(err)
						}
						failed += len(got.Failures)
					}
					return failed
				}
				c, line := simulated(t, by(tt.workers), m("w0", "w1"))
				ask(c, tt.before)
				earlier := len(line.of("a"))
				c.SetRoster(&rosterv1.Roster{Revision: 2, BudgetMs: 60_000, Modules: []*rosterv1.Module{m("w0")}})
				if failed := ask(c, 10); failed != tt.failed {
					t.Errorf("%d questions failed, want %d", failed, tt.failed)
				}
				if got := asked(line.of("a")[earlier:]); !strings.HasPrefix(got, tt.asked) {
					t.Errorf("asked %s", got)
				}
			})
		})
	}
}

func TestWorkerThatAnswersAgainIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, well := subjects.CheckEventAllowed.Declaration, false
		c, line := pair(t, d, func(*exchange) []arrival {
			if well {
				return []arrival{{0, &nats.Msg{}}}
			}
			return nil
		})
		until(t, c, line, d, "w0", 1)
		well = true
		after(11 * time.Second)
		until(t, c, line, d, "w0", 20)
	})
}

func TestModuleOfWhichNoWorkerAnswersIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, d := range []*subjects.Declaration{mayCreate, subjects.CheckEventAllowed.Declaration} {
		synctest.Test(t, func(t *testing.T) {
			i := &rosterv1.Interest{TimeoutMs: 1000, BreakerFailures: 3, BreakerOpenMs: 10_000, OnFailure: skip}
			c, _ := simulated(t, nothing, module(d, "a", i, "w0", "w1"))
			var kind rosterv1.FailureKind
			for range 3 + 1 { // The first worker alone says nothing of the module.
				got, err := c.Ask(t.Context(), d, d.NewRequest())
				if kind = got.Failures[0].Kind; err != nil || kind == open {
					t.Fatalf("got %v, %v", got, err)
				}
			}
			if got, _ := c.Ask(t.Context(), d, d.NewRequest()); got.Failures[0].Kind != open {
				t.Errorf("got %v", got)
			}
		})
	}
}

// When nobody listens for a worker any more, what it has is asked of another at once, if that does nothing twice.
func TestWorkerThatIsGoneGivesUpWhatItHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		there := true
		c, line := pair(t, mayCreate, func(*exchange) []arrival {
			if there {
				return nil
			}
			return []arrival{{0, gone}}
		})
		for !strings.Contains(asked(line.of("a")), "w0") {
			go func() { _, _, _ = ask(t.Context(), c) }()
			synctest.Wait()
		}
		there = false
		after(200 * time.Millisecond)
		start := time.Now()
		for range 10 {
			if _, _, err := ask(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if took := time.Since(start); took != 0 || line.waiting != 0 {
			t.Errorf("after %v, %d replies are still waited for", took, line.waiting)
		}
	})
}
