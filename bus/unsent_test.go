package bus_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// onNATS returns a client whose roster lists modules that are not there, and its connection.
func onNATS(t *testing.T, modules ...string) (*bus.Client, *nats.Conn) {
	t.Helper()
	home := natstest.InProcess(t)
	nc := natstest.Connect(t, home, nats.ReconnectBufSize(-1))
	const name = "example.com"
	roster := rosterOf(subjects.UserMayCreateRoom.Declaration, modules...)
	roster.BudgetMs = uint32(time.Minute.Milliseconds())
	for _, m := range roster.GetModules() {
		m.Callbacks[0].TimeoutMs = roster.GetBudgetMs()
	}
	answer := func(m *nats.Msg) { _ = m.Respond(data(roster).Data) }
	if _, err := natstest.Connect(t, home).Subscribe(subjects.For(name).Roster(), answer); err != nil {
		t.Fatal(err)
	}
	client, err := bus.New(t.Context(), nc, bus.Options{ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, nc
}

func TestRequestThatCannotBeSentFailsAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		config []byte // of the room, which makes the request large
		before func(*nats.Conn)
		want   rosterv1.FailureKind
	}{
		"nobody is there":       {before: func(*nats.Conn) {}, want: rosterv1.FailureKind_ABSENT},
		"the connection ended":  {before: (*nats.Conn).Close, want: rosterv1.FailureKind_ABSENT},
		"the request is larger": {[]byte(`{"topic":"` + strings.Repeat("x", 1<<20) + `"}`), func(*nats.Conn) {}, rosterv1.FailureKind_ERROR},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, nc := onNATS(t, "absent")
			tt.before(nc)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var asking sync.WaitGroup
			for range 20 {
				asking.Go(func() {
					req := &callbacksv1.UserMayCreateRoomRequest{UserId: "@a:example.com", RoomConfig: tt.config}
					d, err := client.SpamChecker.UserMayCreateRoom(ctx, req)
					if err != nil || len(d.Failures) != 1 || d.Failures[0].Kind != tt.want {
						t.Errorf("got %v, %v; want %v", d.Failures, err, tt.want)
					}
				})
			}
			asking.Wait()
		})
	}
}
