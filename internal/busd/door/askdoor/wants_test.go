package askdoor_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func wanted(d *doortest.HTTP, query string) (revision uint64, callbacks map[string][]string) {
	d.T.Helper()
	rsp, out := d.Do("GET", "/_modulebus/v1/wants"+query, nil)
	var answer struct {
		RosterRevision uint64 `json:"roster_revision"`
		Callbacks      map[string][]string
	}
	if err := json.Unmarshal(out, &answer); err != nil || rsp.StatusCode != 200 {
		d.T.Errorf("%s %s: %v", rsp.Status, out, err)
	}
	return answer.RosterRevision, answer.Callbacks
}

func TestPollWithoutNewsHasTheSameRevision(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	now, callbacks := wanted(d, "")
	if len(callbacks["spam_checker"]) != 1 {
		t.Errorf("wanted: %v", callbacks)
	}
	if again, _ := wanted(d, fmt.Sprintf("?after=%d&wait=1ms", now)); again != now {
		t.Errorf("revision %d, then %d", now, again)
	}
}

func TestPollEndsWithNews(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	now, _ := wanted(d, "")
	go d.Configure("{module: gate, timeout: 2m}")
	if later, _ := wanted(d, fmt.Sprintf("?after=%d", now)); later <= now {
		t.Errorf("revision %d, then %d", now, later)
	}
}

func TestPollTellsWhichStateAndKeysAreNeeded(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	d.Configure("{module: gate, timeout: 1m}, {module: rules}, {module: login}")
	d.Roster.Join("rules", &rosterv1.Join{
		Worker: "1", Callbacks: []string{subjects.CheckEventAllowed.FullName()},
		Needs: map[string]*rosterv1.Needs{subjects.CheckEventAllowed.FullName(): {State: &rosterv1.StateFilter{All: true}}},
	}, time.Now())
	d.AwaitRoster()
	_, out := d.Do("GET", "/_modulebus/v1/wants", nil)
	if !strings.Contains(string(out), `"state":{"third_party_rules.check_event_allowed":{"all":true`) {
		t.Errorf("got %s", out)
	}
}

func TestPollEndsWhenBusdDrains(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	now, _ := wanted(d, "")
	doortest.Within(t, "the poll", func() {
		go d.Life.Drain()
		rsp, _ := d.Do("GET", fmt.Sprintf("/_modulebus/v1/wants?after=%d", now), nil)
		if rsp.StatusCode != 200 && rsp.StatusCode != 503 {
			t.Errorf("answered %s", rsp.Status)
		}
	})
}

func TestNamedLoginsOfAModuleThatNeverJoinedAreWantedByPassword(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	named := map[string]config.Override{subjects.AuthCheckers.FullName(): {}}
	d.Roster.Configure([]config.Module{{Name: "logins", Timeout: time.Second, Callbacks: named}}, time.Second, time.Now())
	logins := func() (types map[string][]string) {
		d.Service.Wake()
		d.AwaitRoster()
		_, out := d.Do("GET", "/_modulebus/v1/wants", nil)
		var told struct {
			Types map[string][]string `json:"login_types"`
		}
		if err := json.Unmarshal(out, &told); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		return told.Types
	}
	if got := logins(); !reflect.DeepEqual(got, map[string][]string{"m.login.password": {"password"}}) {
		t.Errorf("before it has said which, login types are %v", got)
	}
	keys := []*rosterv1.Key{{Value: "org.example.login", Fields: []string{"secret"}}}
	d.Roster.Join("logins", &rosterv1.Join{
		Worker: "1", Callbacks: []string{subjects.AuthCheckers.FullName()},
		Needs: map[string]*rosterv1.Needs{subjects.AuthCheckers.FullName(): {Keys: keys}},
	}, time.Now())
	if got := logins(); !reflect.DeepEqual(got, map[string][]string{"org.example.login": {"secret"}}) {
		t.Errorf("when it has, they are %v", got)
	}
}
