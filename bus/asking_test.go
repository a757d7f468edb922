package bus

import (
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// silent is a line on which nobody replies.
type silent struct{ natsrequest.Requester }

func (silent) Send(natsrequest.Receiver, int, natsrequest.Request) (natsrequest.Ticket, error) {
	return 1, nil
}
func (silent) Forget(natsrequest.Ticket)         {}
func (silent) Cancel(natsrequest.Ticket, string) {}
func (silent) Lost(string)                       {}
func (silent) Flush()                            {}

// A timer that is set for a past that nothing ends keeps a whole processor busy until the other modules have answered.
func TestModuleThatTimedOutIsNotWaitedForAgain(t *testing.T) {
	t.Parallel()
	d := subjects.UserMayCreateRoom.Declaration
	roster := &rosterv1.Roster{Revision: 1}
	for i, name := range []string{"a", "b"} {
		roster.Modules = append(roster.Modules, &rosterv1.Module{Name: name, Callbacks: []*rosterv1.Interest{{
			Callback: d.FullName(), TimeoutMs: 1000 * uint32(i+1), OnFailure: callbacksv1.OnFailure_SKIP,
		}}})
	}
	c, err := New(busopts.With(t.Context(), busopts.Client{Requester: silent{}, Roster: roster}), nil, Options{ServerName: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	r := c.roster.Load()
	a := newAsking(2)
	a.begin(t.Context(), c, r, r.plans[d.Index()], &callbacksv1.UserMayCreateRoomRequest{})
	defer a.end()
	a.advance()
	for _, want := range []time.Duration{time.Second, 2 * time.Second} {
		if got := a.next().Sub(a.start); got != want {
			t.Errorf("the next timeout is after %v, want %v", got, want)
		}
		a.look(a.start.Add(want))
	}
	if !a.walk.Done() {
		t.Error("both timed out, and there is no decision")
	}
}
