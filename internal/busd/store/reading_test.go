package store_test

import (
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// TestPagesThatAreReadAtOnceCostBusdNoConnection has a store whose first value is as large as a message may be, so each page moves all of it to
// busd, and little from there.
func TestPagesThatAreReadAtOnceCostBusdNoConnection(t *testing.T) {
	t.Parallel()
	const largest = 8 << 20
	home := &natstest.Home{Servers: []*server.Server{natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), MaxPayload: largest})}}
	s := serve(t, home, true)
	bucket := s.open("listed", false).GetName()
	if _, err := s.module.Request("$KV."+bucket+".large", make([]byte, largest-4096), waittest.Patience); err != nil {
		t.Fatal(err)
	}
	list, err := wire.Encode(&rosterv1.OpenBucket{List: true}, wire.Binary)
	if err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	for range 32 {
		asking.Go(func() {
			for range 2 {
				if _, err := s.module.Request(at.Store("listed"), list, waittest.Patience); err != nil {
					t.Error(err)
				}
			}
		})
	}
	asking.Wait()
	if n := home.Servers[0].NumSlowConsumers(); n > 0 {
		t.Errorf("NATS ended %d connections that did not take what they were sent", n)
	}
}

// TestValueHasWhatTheServerSaysOfIt has a module that writes a value with a header in which NATS says what it is.
func TestValueHasWhatTheServerSaysOfIt(t *testing.T) {
	t.Parallel()
	s := serve(t, withJetStream(t), true)
	m := &nats.Msg{Subject: "$KV." + s.open("listed", false).GetName() + ".key", Header: nats.Header{"Nats-Sequence": {"0"}}}
	if _, err := s.module.RequestMsg(m, waittest.Patience); err != nil {
		t.Fatal(err)
	}
	ask, err := wire.Encode(&rosterv1.OpenBucket{Key: "key"}, wire.Binary)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.request("listed", ask).Header.Values("Nats-Sequence"); len(got) != 1 || got[0] != "1" {
		t.Errorf("got %q", got)
	}
}
