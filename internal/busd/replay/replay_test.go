package replay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/replay"
)

// asked is a module that was asked at once, had a second, and took 300 ms.
func asked(name, said string) decision.Module {
	return decision.Module{Module: name, AskedAtMS: new(decision.Milliseconds), GivenMS: 1000, MS: 300, Said: said, Counted: true}
}

func timedOut(name string) decision.Module {
	m := asked(name, decision.Failure)
	m.Failure, m.Policy, m.MS = "timeout", "skip", 1000
	return m
}

func TestReplayUnderAnotherConfiguration(t *testing.T) {
	t.Parallel()
	const create, room = "spam_checker.user_may_create_room", "third_party_rules.on_create_room"
	unsaid := decision.Module{Module: "b"}
	broken := timedOut("a")
	broken.Failure = "error"
	for name, tt := range map[string]struct {
		modules []decision.Module
		yaml    string // of the modules
		want    replay.Verdict
	}{
		"the order decides between two refusals": {
			[]decision.Module{asked("a", decision.Refusal), asked("b", decision.Refusal)},
			"[{module: b}, {module: a}]",
			replay.Verdict{Outcome: "refused", DecidedBy: "b", MS: 300},
		},
		"a module in shadow does not count": {
			[]decision.Module{asked("a", decision.Refusal)}, "[{module: a, shadow: true}]", replay.Verdict{Outcome: "no_opinion"},
		},
		"a shorter timeout cuts an answer off": {
			[]decision.Module{asked("a", decision.Refusal)}, "[{module: a, timeout: 100ms, on_failure: skip}]", replay.Verdict{Outcome: "no_opinion", MS: 100},
		},
		"another policy makes a failure a refusal": {
			[]decision.Module{broken}, "[{module: a, on_failure: refuse}]", replay.Verdict{Outcome: "refused", DecidedBy: "a", ByPolicy: true, MS: 1000},
		},
		"another policy makes a failure the ask's": {
			[]decision.Module{timedOut("a")}, "[{module: a, on_failure: fail}]", replay.Verdict{Outcome: "failed", By: []string{"a"}, MS: 1000},
		},
		"more time might have brought an answer": {
			[]decision.Module{timedOut("a")}, "[{module: a, timeout: 2s}]", replay.Verdict{Unknown: "a had 1s, which was too little"},
		},
		"what was not said is not known": {
			[]decision.Module{asked("a", decision.Refusal), unsaid}, "[{module: b}, {module: a}]", replay.Verdict{Unknown: "b had not said anything"},
		},
		"what was not said does not matter behind a decision": {
			[]decision.Module{asked("a", decision.Refusal), unsaid},
			"[{module: a}, {module: b, on_failure: refuse}]",
			replay.Verdict{Outcome: "refused", DecidedBy: "a", MS: 300},
		},
	} {
		c, err := config.Parse("busd.yaml", []byte("server_name: x\nmodules: "+tt.yaml))
		if err != nil {
			t.Fatal(err)
		}
		r := &decision.Record{Callback: create, BudgetMS: decision.In(config.DefaultBudget), Modules: tt.modules}
		got := replay.Under(r, c)
		if tt.want.Unknown != "" {
			if !strings.HasPrefix(got.Unknown, tt.want.Unknown) {
				t.Errorf("%s: %+v", name, got)
			}
		} else if !got.Same(&tt.want) || got.MS != tt.want.MS {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
	c, err := config.Parse("busd.yaml", []byte("server_name: x\nmodules: [{module: b}, {module: a}]"))
	if err != nil {
		t.Fatal(err)
	}
	fold := &decision.Record{Callback: room, BudgetMS: decision.In(5 * time.Second), Modules: []decision.Module{asked("a", decision.Answer), asked("b", decision.Answer)}}
	if got := replay.Under(fold, c); got.Unknown != "b would have been asked something else" {
		t.Errorf("a fold in another order: %+v", got)
	}
	if got := replay.Under(&decision.Record{Callback: "none"}, c); !strings.Contains(got.Unknown, "no callback none") {
		t.Errorf("an unknown callback: %+v", got)
	}
}

// A clock that jumps changes the times of records, and nothing that replay says of them.
func TestReplayGoesByHowLongThingsTookAndNoClock(t *testing.T) {
	t.Parallel()
	c, err := config.Parse("busd.yaml", []byte("server_name: x\nmodules: [{module: b, timeout: 100ms, on_failure: skip}, {module: a}]"))
	if err != nil {
		t.Fatal(err)
	}
	r := decision.Record{
		Callback: "spam_checker.user_may_create_room", BudgetMS: decision.In(config.DefaultBudget),
		Modules: []decision.Module{asked("a", decision.Refusal), asked("b", decision.Refusal)},
	}
	want := replay.Verdict{Outcome: "refused", DecidedBy: "a", MS: 300}
	for _, year := range []int{1970, 2026, 2999} {
		r.Time = decision.Time{Time: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}
		if got := replay.Under(&r, c); !got.Same(&want) || got.MS != want.MS {
			t.Errorf("in %d: %+v, want %+v", year, got, want)
		}
	}
}
