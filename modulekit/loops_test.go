package modulekit

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/subjects"
)

// candidateOn is a worker that may lead, for a short time at once.
func candidateOn(nc *nats.Conn, worker string) *candidate {
	return newCandidate(worker, time.Second, newBucket(nc, subjects.For(serverName), "m", true))
}

// Of three workers one runs the loop; when it is gone without a word, another does, within the lease.
func TestLoopRunsOnTheWorkerThatLeads(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "m"})
	ran := make(chan int, 64)
	var running, most atomic.Int32
	var conns [3]*nats.Conn
	for i := range conns {
		conns[i] = natstest.Connect(t, b.home)
		api := moduleOn(conns[i], "m")
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
		t.Cleanup(api.startLoops(context.Background(), candidateOn(conns[i], string(rune('a'+i)))))
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

func TestLeaderIsElectedAgainInABucketMadeAnew(t *testing.T) {
	t.Parallel()
	first := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	b := busdOn(t, &natstest.Home{Servers: []*server.Server{first}}, config.Module{Name: "m"})
	api, ran := moduleOn(natstest.Connect(t, b.home), "m"), make(chan struct{})
	api.LoopingBackgroundCall(time.Millisecond, func(ctx context.Context) error {
		select {
		case ran <- struct{}{}:
		case <-ctx.Done():
		}
		return nil
	})
	t.Cleanup(api.startLoops(context.Background(), candidateOn(api.host.(*host).nc, "w")))
	<-ran
	address := first.Addr().String()
	first.Shutdown()
	first.WaitForShutdown()
	restartNATS(t, address, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); { // Longer than the old lease.
		<-ran
	}
}

func TestLoopOnAllInstancesNeedsNoStore(t *testing.T) {
	t.Parallel()
	api := moduleOn(nil, "m")
	ran := make(chan struct{}, 1)
	api.LoopingBackgroundCallOnAllInstances(time.Millisecond, func(context.Context) error {
		select {
		case ran <- struct{}{}:
			return errors.New("logged, and called again")
		default:
			panic("logged, and called again")
		}
	})
	stop := api.startLoops(context.Background(), nil)
	defer stop()
	for range 3 {
		<-ran
	}
}

// A loop that ignores its context holds up no new configuration. Where one worker leads, what comes next waits for it all the same.
func TestLoopThatDoesNotReturnIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b, said := startBusd(t, config.Module{Name: "m"}), &waittest.Log{}
	nc := natstest.Connect(t, b.home)
	c, release, running := candidateOn(nc, "w"), make(chan struct{}), make(chan struct{}, 1)
	old, next, led := moduleOn(nc, "m"), moduleOn(nc, "m"), make(chan struct{}, 1)
	log := zerolog.New(said)
	old.options.Log = &log
	old.LoopingBackgroundCall(time.Millisecond, func(context.Context) error {
		running <- struct{}{}
		<-release
		return nil
	})
	next.LoopingBackgroundCall(time.Millisecond, func(context.Context) error {
		select {
		case led <- struct{}{}:
		default:
		}
		return nil
	})
	stop := old.startLoops(context.Background(), c)
	<-running
	stop()
	if !said.Has("goes on though its context has ended") {
		t.Errorf("logged %s", said)
	}
	t.Cleanup(next.startLoops(context.Background(), c))
	if len(led) > 0 {
		t.Error("two ran at the same time")
	}
	close(release)
	<-led
}

func TestLoopNeedsAnInterval(t *testing.T) {
	t.Parallel()
	api := moduleOn(nil, "m")
	api.LoopingBackgroundCall(0, func(context.Context) error { return nil })
	if len(api.problems) != 1 {
		t.Errorf("got %v", api.problems)
	}
}
