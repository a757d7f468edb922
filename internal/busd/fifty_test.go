package busd_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// many are modules that go on while busd is away, and join when they are told that their entry has changed. How often they did is
// counted.
func many(t *testing.T, nc *nats.Conn, names []string) (joins *atomic.Int64) {
	t.Helper()
	server := subjects.For(serverName)
	data, _ := proto.Marshal(&rosterv1.Join{Worker: "w", Callbacks: []string{subjects.UserMayCreateRoom.FullName()}})
	joins = &atomic.Int64{}
	join := func(name string) {
		joins.Add(1)
		_ = nc.PublishRequest(server.Join(name), nats.NewInbox(), data)
	}
	refusal, _ := proto.Marshal(&callbacksv1.UserMayCreateRoomResponse{Refusal: &callbacksv1.Refusal{Errcode: "ORG.LAST"}})
	for i, name := range names {
		answer := func(m *nats.Msg) {
			if i == len(names)-1 {
				_ = m.Respond(refusal)
			} else {
				_ = m.Respond(nil)
			}
		}
		for subject, handle := range map[string]nats.MsgHandler{
			server.WorkerAny(name, "w"): answer,
			server.Changed(name):        func(*nats.Msg) { join(name) },
		} {
			if _, err := nc.Subscribe(subject, handle); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := nc.QueueSubscribe(server.Callback(subjects.UserMayCreateRoom, name), subjects.Group(name), answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return joins
}

// A busd that starts without a memory lets nobody through before it knows what fifty modules of an external NATS want. It knows after
// it has told each of them once, and each has joined once. How long that takes is in the log.
func TestBusdThatStartsAgainLetsNobodyThrough(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	var names []string
	list := []byte("modules:\n")
	for i := range 50 {
		names = append(names, fmt.Sprint("m", i))
		list = fmt.Appendf(list, "  - {module: m%d}\n", i)
	}
	external := func() *config.Config {
		c := parse(t, stateDir(t), string(list))
		c.NATS.Listen, c.NATS.URL, c.NATS.MaxPayload = "", home.URL(), 0
		return c
	}
	joins := many(t, natstest.Connect(t, home), names)
	for starts := range int64(2) {
		began := time.Now()
		r := serve(t, external())
		waittest.Until(t, "all are asked", func() bool {
			out := r.create("a")
			refused := strings.Contains(out, "ORG.LAST")
			if !refused && strings.Contains(out, `"failures":[]`) {
				t.Fatalf("let through: %s", out)
			}
			return refused && strings.Contains(out, `"failures":[]`)
		})
		t.Logf("all fifty were asked %v after the start", time.Since(began))
		if n := joins.Load(); n != (starts+1)*int64(len(names)) {
			t.Errorf("after %d starts, %d modules have joined %d times", starts+1, len(names), n)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
}
