package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/modulebus/modulebus/internal/waittest"
)

// predicting is a busd whose operator has something asked about each user, and then changes the file.
type predicting struct {
	*serving
	t     *testing.T
	users []string
}

// verdict is what came of an ask, or would.
type verdict struct {
	Outcome   string `json:"outcome"`
	DecidedBy string `json:"decided_by"`
}

// ask asks about all users at once, and returns what came of it, and by which record it is known.
func (p *predicting) ask() (came map[string]verdict, ids map[string]string) {
	p.t.Helper()
	came, ids = map[string]verdict{}, map[string]string{}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, user := range p.users {
		asking.Go(func() {
			v, id := p.askOne(user)
			mu.Lock()
			defer mu.Unlock()
			came[user], ids[user] = v, id
		})
	}
	asking.Wait()
	return came, ids
}

func (p *predicting) askOne(user string) (v verdict, id string) {
	var d struct {
		ID string `json:"decision_id"`
	}
	asked := run(p.t, "ask", "user_may_create_room", `{"user_id": "`+user+`"}`, "--url", p.url)
	if err := json.Unmarshal([]byte(asked.out), &d); err != nil {
		p.t.Error(err, asked)
	}
	record := run(p.t, "explain", d.ID, "--json", "--url", p.url)
	if err := json.Unmarshal([]byte(record.out), &v); err != nil {
		p.t.Error(err, record)
	}
	return v, d.ID
}

// replay returns what would have come of asks under another file.
func (p *predicting) replay(came map[string]verdict, ids map[string]string, file string) map[string]verdict {
	p.t.Helper()
	would := maps.Clone(came)
	out := run(p.t, "replay", "--since", "1h", "--config", write(p.t, file), "--json", "--url", p.url)
	out.wants(p.t, 3, []string{`"unknown":0`}, nil)
	for line := range strings.Lines(out.out) {
		var d struct {
			ID    string
			Would verdict `json:"would_be"`
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			p.t.Fatal(err, line)
		}
		for user, id := range ids {
			if id == d.ID {
				would[user] = d.Would
			}
		}
	}
	return would
}

// What replay says is what then happens, for each kind of change.
func TestReplayPredictsEachKindOfChange(t *testing.T) {
	t.Parallel()
	// The first is slower, so that the second has always said something when the ask is over: else replay cannot know what it would say.
	first := strings.Replace(gate(`{slow: "@both:x,@first:x"}`), "gate", "first", 1) + "    on_failure: skip\n    timeout: 30s\n"
	second := strings.Replace(gate(`{deny: "@both:x,@second:x"}`), "gate", "second", 1) + "    timeout: 30s\n"
	absent := "  - module: absent\n    callbacks: {user_may_create_room: {on_failure: skip}}\n"
	refusedBy := func(module string) verdict { return verdict{"refused", module} }
	for name, tt := range map[string]struct {
		file string
		want map[string]verdict // that are other ones
	}{
		"another order": {second + first + absent, map[string]verdict{"@both:x": refusedBy("second")}},
		"a module less": {second + absent, map[string]verdict{
			"@both:x": refusedBy("second"), "@first:x": {Outcome: "no_opinion"},
		}},
		"another policy": {first + second + strings.Replace(absent, "skip", "refuse", 1), map[string]verdict{"@other:x": refusedBy("absent")}},
		"a shorter timeout": {
			strings.Replace(first, "timeout: 30s", "timeout: 3s", 1) + second + absent,
			map[string]verdict{"@both:x": refusedBy("second"), "@first:x": {Outcome: "no_opinion"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const budget = "budget: 50s\n"
			p := &predicting{start(t, first+second+absent+budget), t, []string{"@both:x", "@first:x", "@second:x", "@other:x"}}
			before, err := os.ReadFile(p.file)
			if err != nil {
				t.Fatal(err)
			}
			file := strings.Replace(string(before), first+second+absent, tt.file, 1)
			came, ids := p.ask()
			predicted, want := p.replay(came, ids, file), maps.Clone(came)
			maps.Copy(want, tt.want)
			if !maps.Equal(predicted, want) {
				t.Errorf("replay says %v, not %v, of %v", predicted, want, came)
			}
			rewrite(t, p.file, file)
			find(t, p.log, "took over the new configuration")
			waittest.Until(t, fmt.Sprintf("it is as replay said: %v", predicted), func() bool {
				came, _ = p.ask()
				return maps.Equal(came, predicted)
			})
		})
	}
}
