package door_test

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func (h *house) openNATS() *door.NATS {
	h.t.Helper()
	d := door.NewNATS(h.nc, serverName, h.answerer, zerolog.New(zerolog.NewTestWriter(h.t)))
	if err := d.Open(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(d.Close)
	return d
}

func (h *house) ask(data []byte, header nats.Header) *nats.Msg {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	m, err := h.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: names.Ask(subjects.UserMayCreateRoom), Data: data, Header: header})
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func TestAskOverNATSIsAnsweredInEitherMapping(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.openNATS()
	inJSON := nats.Header{"Content-Type": {"application/json"}}
	if m := h.ask(user("evil"), inJSON); !strings.Contains(string(m.Data), "M_FORBIDDEN") || m.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%v %s", m.Header, m.Data)
	}
	question, err := proto.Marshal(&callbacksv1.UserMayCreateRoomRequest{UserId: "@evil:example.com"})
	if err != nil {
		t.Fatal(err)
	}
	decision := &rosterv1.Decision{}
	if err := proto.Unmarshal(h.ask(question, nil).Data, decision); err != nil || decision.GetDecidedBy() != "gate" {
		t.Errorf("%v, %v", decision, err)
	}
	for name, tt := range map[string]struct {
		body string
		code string
	}{"a failed module": {string(user("error")), "502"}, "no JSON": {"{", "400"}} {
		if m := h.ask([]byte(tt.body), inJSON); m.Header.Get("Nats-Service-Error-Code") != tt.code {
			t.Errorf("%s: %v %s", name, m.Header, m.Data)
		}
	}
}

func TestAskOverNATSEndsWithItsTimeout(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.openNATS()
	t.Cleanup(h.release())
	header := nats.Header{"Content-Type": {"application/json"}, "Modulebus-Timeout": {"1"}}
	if m := h.ask(user("slow"), header); m.Header.Get("Nats-Service-Error-Code") != "502" || !strings.Contains(string(m.Data), "timeout") {
		t.Errorf("%v %s", m.Header, m.Data)
	}
}

func TestNATSDoorFinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.openNATS()
	answered := make(chan *nats.Msg, 1)
	go func() { answered <- h.ask(user("slow"), nats.Header{"Content-Type": {"application/json"}}) }()
	<-h.asked
	drained := make(chan struct{})
	go func() { defer close(drained); d.Drain(t.Context()) }()
	h.release()()
	within(t, "draining", func() { <-drained })
	if m := <-answered; !strings.Contains(string(m.Data), "roster_revision") {
		t.Errorf("%v %s", m.Header, m.Data)
	}
}

func TestNATSDoorGivesUpWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.openNATS()
	release := h.release()
	t.Cleanup(release)
	go h.nc.PublishMsg(&nats.Msg{Subject: names.Ask(subjects.UserMayCreateRoom), Data: user("slow"), Header: nats.Header{"Content-Type": {"application/json"}}})
	<-h.asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	within(t, "draining", func() { d.Drain(ctx) })
}

func TestDoorOnAClosedConnectionDoesNotOpen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := door.NewNATS(h.nc, serverName, h.answerer, zerolog.Nop())
	h.nc.Close()
	if err := d.Open(); err == nil {
		t.Error("it opens")
	}
	d.Close()
}
