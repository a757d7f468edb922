package busd

import (
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/subjects"
)

func TestStartIsSettledWhenNobodyIsExpected(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		module roster.Status
		waited time.Duration
		want   bool
	}{
		"it starts":                {roster.Status{State: roster.Starting}, time.Hour, false},
		"it may still come":        {roster.Status{State: roster.Absent}, 0, false},
		"it has not come":          {roster.Status{State: roster.Absent}, patience, true},
		"it has failed":            {roster.Status{State: roster.Failed}, 0, true},
		"its workers are too few":  {roster.Status{State: roster.Ready, Workers: 1, Processes: 2}, 0, false},
		"one of them has crashed":  {roster.Status{State: roster.Ready, Processes: 2, LastError: "exit status 1"}, 0, true},
		"it is a guest, and ready": {roster.Status{State: roster.Ready, LastError: "not in the roster"}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := settled([]roster.Status{tt.module}, tt.waited); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestModuleThatStartsIsNamedWithItsTime(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	all := []roster.Status{
		{Name: "slow", State: roster.Starting, Since: since},
		{Name: "gone", State: roster.Absent},
		{Name: "well", State: roster.Ready, Workers: 1},
		{Name: "refused", State: roster.Failed, Since: since, LastError: "config refused: no"},
		{Name: "guest", State: roster.Unlisted},
	}
	if got := describe(awaited(all)); got != "module slow is starting, and has not joined, since 03:04:05, module gone is absent, "+
		"module refused is failed, and has not joined, since 03:04:05 (config refused: no)" {
		t.Errorf("got %q", got)
	}
	if got := describe(incomplete(all)); !strings.Contains(got, "slow") || !strings.Contains(got, "gone is absent") || strings.Contains(got, "well") {
		t.Errorf("got %q", got)
	}
}

// Its workers have joined, and NATS does not let them be asked, or they fail all the time.
func TestModuleThatDoesNotWorkIsNotCalledReady(t *testing.T) {
	t.Parallel()
	got := describe([]roster.Status{{Name: "gate", State: roster.Ready, Workers: 1, LastError: "it cannot be asked"}})
	if got != "module gate has joined, and does not work (it cannot be asked)" {
		t.Errorf("got %q", got)
	}
}

// What busd has an operator try is answered by every module that is well: one that is asked about an event fails without one.
func TestQuestionToTryNeedsAUserAlone(t *testing.T) {
	t.Parallel()
	for callback, want := range map[subjects.AnyCallback]bool{
		subjects.UserMayCreateRoom: true, subjects.CheckEventForSpam: false, subjects.UserMayJoinRoom: false, subjects.UserMayInvite: false,
	} {
		if d := subjects.DeclarationOf(callback); ofAUser(d) != want {
			t.Errorf("%s: got %v", d.Name, !want)
		}
	}
}
