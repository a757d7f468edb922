package natsdoor_test

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/internal/busd/door/natsdoor"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestAskOverNATSIsAnsweredInEitherMapping(t *testing.T) {
	t.Parallel()
	h := doortest.New(t)
	h.OpenNATS()
	inJSON := nats.Header{"Content-Type": {"application/json"}}
	if m := h.AskNATS(doortest.User("evil"), inJSON); !strings.Contains(string(m.Data), "M_FORBIDDEN") || m.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%v %s", m.Header, m.Data)
	}
	question, err := proto.Marshal(&callbacksv1.UserMayCreateRoomRequest{UserId: "@evil:example.com"})
	if err != nil {
		t.Fatal(err)
	}
	decision := &rosterv1.Decision{}
	if err := proto.Unmarshal(h.AskNATS(question, nil).Data, decision); err != nil || decision.GetDecidedBy() != "gate" {
		t.Errorf("%v, %v", decision, err)
	}
	for name, tt := range map[string]struct {
		body string
		code string
	}{"a failed module": {string(doortest.User("error")), "502"}, "no JSON": {"{", "400"}} {
		if m := h.AskNATS([]byte(tt.body), inJSON); m.Header.Get("Nats-Service-Error-Code") != tt.code {
			t.Errorf("%s: %v %s", name, m.Header, m.Data)
		}
	}
}

func TestAskOverNATSEndsWithItsTimeout(t *testing.T) {
	t.Parallel()
	h := doortest.New(t)
	h.OpenNATS()
	t.Cleanup(h.Release())
	header := nats.Header{"Content-Type": {"application/json"}, "Modulebus-Timeout": {"1"}}
	if m := h.AskNATS(doortest.User("slow"), header); m.Header.Get("Nats-Service-Error-Code") != "502" || !strings.Contains(string(m.Data), "timeout") {
		t.Errorf("%v %s", m.Header, m.Data)
	}
}

func TestNATSDoorFinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	h := doortest.New(t)
	d := h.OpenNATS()
	answered := make(chan *nats.Msg, 1)
	go func() {
		answered <- h.AskNATS(doortest.User("slow"), nats.Header{"Content-Type": {"application/json"}})
	}()
	<-h.Asked
	drained := make(chan struct{})
	go func() { defer close(drained); d.Drain(t.Context()) }()
	h.Release()()
	doortest.Within(t, "draining", func() { <-drained })
	if m := <-answered; !strings.Contains(string(m.Data), "roster_revision") {
		t.Errorf("%v %s", m.Header, m.Data)
	}
}

func TestNATSDoorGivesUpWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	h := doortest.New(t)
	d := h.OpenNATS()
	release := h.Release()
	t.Cleanup(release)
	go h.NC.PublishMsg(&nats.Msg{Subject: doortest.Names.Ask(subjects.UserMayCreateRoom), Data: doortest.User("slow"), Header: nats.Header{"Content-Type": {"application/json"}}})
	<-h.Asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	doortest.Within(t, "draining", func() { d.Drain(ctx) })
}

func TestDoorOnAClosedConnectionDoesNotOpen(t *testing.T) {
	t.Parallel()
	h := doortest.New(t)
	d := natsdoor.New(h.NC, doortest.ServerName, h.Answerer, zerolog.Nop())
	h.NC.Close()
	if err := d.Open(); err == nil {
		t.Error("it opens")
	}
	d.Close()
}
