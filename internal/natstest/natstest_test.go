package natstest_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/modulebus/modulebus/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnectionsReachEachOther(t *testing.T) {
	t.Parallel()
	natstest.Each(t, func(t *testing.T, home *natstest.Home) {
		asked, asking := natstest.Connect(t, home), natstest.Connect(t, home)
		if _, err := asked.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
			t.Fatal(err)
		}
		if err := asked.Flush(); err != nil {
			t.Fatal(err)
		}
		natstest.AwaitInterest(t, home, "echo")
		m, err := asking.RequestWithContext(t.Context(), "echo", []byte("hello"))
		if err != nil || string(m.Data) != "hello" {
			t.Errorf("got %v, %v", m, err)
		}
	})
}

func TestConnectionsTakeTheNodesInTurn(t *testing.T) {
	t.Parallel()
	home := natstest.Cluster(t)
	seen := map[string]bool{}
	for range home.Servers {
		seen[natstest.Connect(t, home).ConnectedServerId()] = true
	}
	if len(seen) != 3 {
		t.Errorf("connected to %d nodes, want 3", len(seen))
	}
}

func TestConnectionsOutliveANode(t *testing.T) {
	t.Parallel()
	home := natstest.Cluster(t)
	nc := natstest.Connect(t, home)
	away := nc.StatusChanged(nats.CONNECTED)
	home.Servers[0].Shutdown()
	if status := <-away; status != nats.CONNECTED {
		t.Errorf("status is %v", status)
	}
	if nc.ConnectedServerId() == home.Servers[0].ID() {
		t.Error("still connected to the node that is gone")
	}
}
