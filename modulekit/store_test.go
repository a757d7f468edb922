package modulekit

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/internal/natstest"
)

// stores starts NATS with JetStream.
func stores(t *testing.T) *natstest.Home {
	t.Helper()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	return &natstest.Home{Servers: []*server.Server{s}}
}

func workerOn(nc *nats.Conn, module, worker string, lease time.Duration) *ModuleAPI {
	o := Options{ServerName: "example.com", Module: module, Worker: worker, nc: nc, lease: lease}
	return newAPI(o.withDefaults())
}

func TestWorkersShareAStoreAndModulesDoNot(t *testing.T) {
	t.Parallel()
	home := stores(t)
	open := func(module, worker string) jetstream.KeyValue {
		kv, err := workerOn(natstest.Connect(t, home), module, worker, 0).KeyValue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return kv
	}
	one, other, stranger := open("a.b", "w1"), open("a.b", "w2"), open("a_b", "w1")
	revision, err := one.Create(t.Context(), "k", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := other.Get(t.Context(), "k"); err != nil || string(e.Value()) != "1" {
		t.Errorf("the other worker got %v, %v", e, err)
	}
	if _, err := stranger.Get(t.Context(), "k"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("another module got %v", err)
	}
	if _, err := other.Update(t.Context(), "k", []byte("2"), revision); err != nil {
		t.Error(err)
	}
	if _, err := one.Update(t.Context(), "k", []byte("3"), revision); err == nil {
		t.Error("a value was overwritten that had changed since it was read")
	}
}

func TestWithoutJetStreamThereIsNoStore(t *testing.T) {
	t.Parallel()
	for name, nc := range map[string]*nats.Conn{"no JetStream": natstest.Connect(t, natstest.TCP(t)), "no bus": nil} {
		if _, err := workerOn(nc, "m", "w", 0).KeyValue(t.Context()); !errors.Is(err, ErrNoStore) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Of three workers one runs the loop; when it is gone without a word, another does, within the lease.
func TestALoopRunsOnTheWorkerThatLeads(t *testing.T) {
	t.Parallel()
	home := stores(t)
	ran := make(chan int, 64)
	var running, most atomic.Int32
	var conns [3]*nats.Conn
	for i := range conns {
		conns[i] = natstest.Connect(t, home)
		api := workerOn(conns[i], "m", string(rune('a'+i)), time.Second)
		api.LoopingBackgroundCall(time.Millisecond, func(ctx context.Context) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			select {
			case ran <- i:
			case <-ctx.Done():
			}
			return nil
		})
		t.Cleanup(api.startLoops(context.Background()))
	}
	first := <-ran
	for range 200 {
		if got := <-ran; got != first {
			t.Fatalf("worker %d ran while %d led", got, first)
		}
	}
	conns[first].Close()
	next := first
	for next == first {
		next = <-ran
	}
	if most.Load() != 1 {
		t.Errorf("%d ran at the same time", most.Load())
	}
	t.Cleanup(func() { // Loops that still want to be heard.
		for len(ran) > 0 {
			<-ran
		}
	})
}

func TestALoopOnAllInstancesNeedsNoStore(t *testing.T) {
	t.Parallel()
	api := workerOn(nil, "m", "w", 0)
	ran := make(chan struct{}, 1)
	api.LoopingBackgroundCallOnAllInstances(time.Millisecond, func(context.Context) error {
		select {
		case ran <- struct{}{}:
			return errors.New("logged, and called again")
		default:
			panic("logged, and called again")
		}
	})
	stop := api.startLoops(context.Background())
	defer stop()
	for range 3 {
		<-ran
	}
}

func TestALoopNeedsAnInterval(t *testing.T) {
	t.Parallel()
	api := workerOn(nil, "m", "w", 0)
	api.LoopingBackgroundCall(0, func(context.Context) error { return nil })
	if len(api.problems) != 1 {
		t.Errorf("got %v", api.problems)
	}
}
