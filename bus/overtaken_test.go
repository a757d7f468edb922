package bus_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/subjects"
)

// overtaken is a line on which the first module answers at once, and any other when the test says so.
type overtaken struct {
	natsrequest.Requester

	first   *nats.Msg
	answers []func()             // of the others
	ended   []natsrequest.Ticket // those that were cancelled or forgotten
	last    natsrequest.Ticket
}

func (o *overtaken) Send(to natsrequest.Receiver, place int, r natsrequest.Request) (natsrequest.Ticket, error) {
	if strings.HasSuffix(r.Subject, ".first") {
		to.Receive(place, o.first)
	} else {
		o.answers = append(o.answers, func() { to.Receive(place, &nats.Msg{}) })
	}
	o.last++
	return o.last, nil
}

func (o *overtaken) Forget(t natsrequest.Ticket)           { o.ended = append(o.ended, t) }
func (o *overtaken) Cancel(t natsrequest.Ticket, _ string) { o.ended = append(o.ended, t) }
func (*overtaken) Flush()                                  {}

// The ticket of a request that has its answer may be another request's by then: see ADR 115.
func TestRequestThatIsAnsweredAfterTheDecisionIsNotCancelled(t *testing.T) {
	t.Parallel()
	o := &overtaken{first: data(denied("M_FORBIDDEN"))}
	ctx := busopts.With(t.Context(), busopts.Client{Requester: o, Roster: rosterOf(subjects.UserMayCreateRoom.Declaration, "first", "answers", "silent")})
	c, err := bus.New(ctx, nil, bus.Options{ServerName: "example.com", Observe: func(*bus.Trace) { o.answers[0]() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil {
		t.Fatal(err)
	}
	if len(o.ended) != 1 || o.ended[0] != 3 {
		t.Errorf("cancelled %v, and only the third has no answer", o.ended)
	}
}
