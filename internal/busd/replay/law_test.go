package replay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/replay"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/combine/combinetest"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// stage is a busd's configuration, with modules whose every reply is drawn.
type stage struct {
	kind   combinetest.Kind
	config *config.Config
	roster *rosterv1.Roster
}

// asks is how many asks one stage gets.
const asks = 20

func drawStage(t *rapid.T) stage {
	s := stage{kind: rapid.SampledFrom(combinetest.Kinds).Draw(t, "kind")}
	policies := []string{"skip", "fail"}
	if s.kind.Callback.CanRefuse() {
		policies = append(policies, "refuse")
	}
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "server_name: x\nbudget: %dms\nmodules:\n", rapid.IntRange(100, 900).Draw(t, "budget"))
	modules := rapid.IntRange(1, 5).Draw(t, "modules")
	for i := range modules {
		fmt.Fprintf(&yaml, "  - {module: m%d, timeout: %dms, on_failure: %s, breaker: off, shadow: %v}\n", i, rapid.IntRange(100, 900).Draw(t, "timeout"),
			rapid.SampledFrom(policies).Draw(t, "policy"), rapid.IntRange(0, 5).Draw(t, "shadow") == 0)
	}
	if s.kind.Callback.Options.GetSpeculative() && rapid.Bool().Draw(t, "sequential") {
		yaml.WriteString("evaluate: sequential\n")
	}
	c, err := config.Parse("busd.yaml", []byte(yaml.String()))
	if err != nil {
		t.Fatal(err)
	}
	r := roster.New()
	r.Evaluate(c.Sequential)
	r.Configure(c.Modules, c.Budget, time.Now())
	for i := range modules {
		r.Join(fmt.Sprintf("m%d", i), &rosterv1.Join{Worker: "w", Callbacks: []string{s.kind.Callback.FullName()}}, time.Now())
	}
	s.config, s.roster = c, r.Snapshot()
	return s
}

// line is a [natsrequest.Requester] whose replies come from a function.
type line struct {
	reply func(request int) (after time.Duration, m *nats.Msg)

	mu     sync.Mutex
	sent   int
	forget map[natsrequest.Ticket]func() bool
}

// Send implements [natsrequest.Requester].
func (l *line) Send(to natsrequest.Receiver, place int, _ natsrequest.Request) (natsrequest.Ticket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	after, m := l.reply(l.sent)
	if m == nil {
		return 0, nats.ErrConnectionClosed
	}
	ticket := natsrequest.Ticket(len(l.forget) + 1)
	over := false
	l.forget[ticket] = func() bool { was := over; over = true; return !was }
	time.AfterFunc(after, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.forget[ticket]() {
			to.Receive(place, m)
		}
	})
	return ticket, nil
}

// Forget implements [natsrequest.Requester].
func (l *line) Forget(t natsrequest.Ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget[t]()
}

// Cancel implements [natsrequest.Requester].
func (l *line) Cancel(t natsrequest.Ticket, _ string) { l.Forget(t) }

// Lost implements [natsrequest.Requester].
func (l *line) Lost(string) {}

// Flush implements [natsrequest.Requester].
func (*line) Flush() {}

// MaxPayload implements [natsrequest.Requester].
func (l *line) MaxPayload() int { return 1 << 20 }

// records asks again and again, and returns the records of it, as whoever reads them over HTTP has them.
func (s *stage) records(t *rapid.T, tb *testing.T) (all []decision.Record) {
	seed := rapid.IntRange(0, 1<<30).Draw(t, "seed")
	reply := func(request int) (time.Duration, *nats.Msg) { return s.reply(seed + request) }
	l := &line{forget: map[natsrequest.Ticket]func() bool{}, reply: reply}
	r := records.New()
	ctx := busopts.With(context.Background(), busopts.Client{Requester: l, Roster: s.roster})
	c, err := bus.New(ctx, nil, bus.Options{ServerName: "x", Observe: r.Observe})
	if err != nil {
		t.Fatal(err)
	}
	for range asks {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(rapid.IntRange(50, 2000).Draw(t, "deadline"))*time.Millisecond)
		_, _ = c.Ask(ctx, s.kind.Callback, s.kind.Request.Draw(t, "request"))
		cancel()
	}
	c.Close()
	last, err := r.Last(ctx, decision.Filter{}, 1000)
	if err != nil || len(last) != asks && len(last) > 0 { // None where all modules are in shadow, and are not asked this.
		t.Fatalf("%v: %d records", err, len(last))
	}
	data, err := json.Marshal(last)
	if err != nil || json.Unmarshal(data, &all) != nil {
		tb.Fatal(err)
	}
	return all
}

// reply is one of all replies, and when it comes; nil is a request that was not sent.
func (s *stage) reply(seed int) (time.Duration, *nats.Msg) {
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	after := time.Duration(r.IntN(1000))*time.Millisecond + 500*time.Microsecond
	kinds := []rosterv1.FailureKind{rosterv1.FailureKind_ERROR, rosterv1.FailureKind_PANIC, rosterv1.FailureKind_BUSY, rosterv1.FailureKind_TIMEOUT}
	switch r.IntN(7) {
	case 0, 1:
		data, _ := proto.Marshal(s.kind.Answer.Example(seed)) // What is drawn can be.
		return after, &nats.Msg{Data: data}
	case 2:
		f := wire.Failure{Kind: kinds[r.IntN(len(kinds))], Text: "scripted"}
		return after, &nats.Msg{Header: f.Header()}
	case 3:
		return after, &nats.Msg{Header: nats.Header{"Status": {"503"}}}
	case 4:
		return 0, nil
	}
	return after, &nats.Msg{}
}

// The law of the package. With -rapid.checks=5000 it looks at 100,000 records.
func TestReplayUnderTheSameConfigurationDiffersInNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := drawStage(rt)
		var all []decision.Record
		synctest.Test(t, func(t *testing.T) { all = s.records(rt, t) })
		for i := range all {
			r := &all[i]
			if !replay.Decided(r) {
				rt.Fatalf("it was not decided: %+v", r)
			}
			was, is := replay.Recorded(r), replay.Under(r, s.config)
			if is.Unknown != "" || !is.Same(&was) {
				text, _ := json.MarshalIndent(r, "", " ")
				rt.Fatalf("was %+v and is %+v of\n%s", was, is, text)
			}
		}
	})
}

// A module that the list has no more is as one that was never asked, unless others had waited for what it said.
func TestReplayWithoutAModuleDependsOnNothingThatItSaid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := drawStage(rt)
		var all []decision.Record
		synctest.Test(t, func(t *testing.T) { all = s.records(rt, t) })
		gone := s.config.Modules[rapid.IntRange(0, len(s.config.Modules)-1).Draw(rt, "gone")].Name
		without := *s.config
		without.Modules = slices.DeleteFunc(slices.Clone(s.config.Modules), func(m config.Module) bool { return m.Name == gone })
		for i := range all {
			if is := replay.Under(&all[i], &without); is.DecidedBy == gone || slices.Contains(is.By, gone) {
				rt.Fatalf("%s decides what it is not asked: %+v", gone, is)
			}
		}
	})
}
