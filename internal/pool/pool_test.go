package pool_test

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// worker is a pool whose messages are served when the test says so.
type worker struct {
	*pool.Pool
	started, refused chan *nats.Msg
	finish           chan struct{}
}

func newWorker(limit int) worker {
	w := worker{started: make(chan *nats.Msg), refused: make(chan *nats.Msg), finish: make(chan struct{})}
	w.Pool = pool.New(limit, func(m *nats.Msg) { w.started <- m; <-w.finish }, func(m *nats.Msg) { w.refused <- m })
	return w
}

func message(name string) *nats.Msg { return &nats.Msg{Subject: name} }

func TestWhatIsOverTheLimitIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	const limit = 3
	w := newWorker(limit)
	for i := range limit {
		w.Work <- message(strconv.Itoa(i))
		<-w.started
	}
	for i := range 2 * limit { // Nothing is finished meanwhile.
		m := message(fmt.Sprint("over", i))
		w.Work <- m
		if got := <-w.refused; got != m {
			t.Fatalf("refused %q, not %q", got.Subject, m.Subject)
		}
	}
	w.finish <- struct{}{}
	close(w.finish)
	<-w.Stop()
}

func TestAPlaceThatIsFreeAgainIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorker(1)
	for i := range 100 {
		m := message(strconv.Itoa(i))
		for w.Work <- m; ; w.Work <- m {
			select {
			case <-w.refused: // Who served the one before is not back yet.
				continue
			case got := <-w.started:
				if got != m {
					t.Fatalf("served %q, not %q", got.Subject, m.Subject)
				}
			}
			break
		}
		w.finish <- struct{}{}
	}
	<-w.Stop()
}

func TestWhoGetsAReplyIsNotRefusedNext(t *testing.T) {
	t.Parallel()
	const many = 1000
	var p *pool.Pool
	served, done := 0, make(chan struct{})
	answer := func(*nats.Msg) (nats.Header, []byte) { served++; return nil, []byte{byte(served)} }
	p = pool.Answering(1, answer, func(m *nats.Msg, _ nats.Header, data []byte) {
		if want := byte(served); len(data) != 1 || data[0] != want {
			t.Errorf("reply %v, not %d", data, want)
		}
		if served == many {
			close(done)
			return
		}
		p.Work <- m
	}, func(*nats.Msg) { t.Error("refused") })
	p.Work <- message("")
	<-done
	<-p.Stop()
}

func TestAllThatArrivedBeforeStopIsHandled(t *testing.T) {
	t.Parallel()
	w := newWorker(2)
	const many = 500
	for i := range many {
		w.Work <- message(strconv.Itoa(i))
	}
	ended := w.Stop()
	close(w.finish)
	var handled []string
	for range many {
		select {
		case m := <-w.started:
			handled = append(handled, m.Subject)
		case m := <-w.refused:
			handled = append(handled, m.Subject)
		case <-ended:
			t.Fatalf("the pool ended after %d of %d messages", len(handled), many)
		}
	}
	<-ended
	slices.Sort(handled)
	if once := slices.Compact(handled); len(once) != many {
		t.Errorf("%d of %d messages were handled", len(once), many)
	}
}

func TestStopWaitsForWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorker(1)
	w.Work <- message("slow")
	<-w.started
	ended := w.Stop()
	select {
	case <-ended:
		t.Error("the pool ended while a message was being served")
	default:
	}
	close(w.finish)
	<-ended
}

func TestNeverMoreThanTheLimitAreServed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int32Range(1, 8).Draw(t, "limit")
		senders, each := rapid.IntRange(1, 8).Draw(t, "senders"), rapid.IntRange(1, 40).Draw(t, "messages of each")
		yields := rapid.IntRange(0, 3).Draw(t, "yields")
		var serving, most, served, refused atomic.Int32
		p := pool.New(int(limit), func(*nats.Msg) {
			now := serving.Add(1)
			for high := most.Load(); now > high && !most.CompareAndSwap(high, now); high = most.Load() {
			}
			for range yields {
				runtime.Gosched()
			}
			served.Add(1)
			serving.Add(-1)
		}, func(*nats.Msg) { refused.Add(1) })
		var sending sync.WaitGroup
		for range senders {
			sending.Go(func() {
				for range each {
					p.Work <- message("")
				}
			})
		}
		sending.Wait()
		<-p.Stop()
		if most.Load() > limit {
			t.Fatalf("%d at once, with a limit of %d", most.Load(), limit)
		}
		if got, want := int(served.Load()+refused.Load()), senders*each; got != want {
			t.Fatalf("handled %d of %d: served %d, refused %d", got, want, served.Load(), refused.Load())
		}
		if served.Load() == 0 {
			t.Fatal("everything was refused")
		}
	})
}
