package responder

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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// worker is a pool whose messages are served when the test says so.
type worker struct {
	*pool
	started, refused chan *nats.Msg
	finish           chan struct{}
}

func newWorker(limit int) worker {
	w := worker{started: make(chan *nats.Msg), refused: make(chan *nats.Msg), finish: make(chan struct{})}
	w.pool = silentPool(limit, func(m *nats.Msg) { w.started <- m; <-w.finish }, func(m *nats.Msg) { w.refused <- m })
	return w
}

// silentPool is a pool that replies nothing.
func silentPool(limit int, serve, refuse func(*nats.Msg)) *pool {
	return newPool(limit, func(m *nats.Msg) Answer { serve(m); return Answer{} }, func(request, Answer) {}, func(r request) { refuse(r.Msg) }, oneEach)
}

// oneEach has each message be one request.
func oneEach(*nats.Msg) *batch { return nil }

// stopping stops a pool, and returns a channel that is closed when it has ended.
func stopping(p *pool) <-chan struct{} {
	ended := make(chan struct{})
	go func() { defer close(ended); p.stop() }()
	return ended
}

func message(name string) *nats.Msg { return &nats.Msg{Subject: name} }

func TestPoolRefusesBeyondItsLimitAtOnce(t *testing.T) {
	t.Parallel()
	const limit = 3
	w := newWorker(limit)
	for i := range limit {
		w.work <- message(strconv.Itoa(i))
		<-w.started
	}
	for i := range 2 * limit { // Nothing is finished meanwhile.
		m := message(fmt.Sprint("over", i))
		w.work <- m
		if got := <-w.refused; got != m {
			t.Fatalf("refused %q, not %q", got.Subject, m.Subject)
		}
	}
	w.finish <- struct{}{}
	close(w.finish)
	w.stop()
}

func TestPoolTakesAFreedSlot(t *testing.T) {
	t.Parallel()
	w := newWorker(1)
	for i := range 100 {
		m := message(strconv.Itoa(i))
		for w.work <- m; ; w.work <- m {
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
	w.stop()
}

func TestRequesterWithAReplyIsNotRefusedNext(t *testing.T) {
	t.Parallel()
	const many = 1000
	var p *pool
	served, done := 0, make(chan struct{})
	answer := func(*nats.Msg) Answer { served++; return Answer{Data: []byte{byte(served)}} }
	p = newPool(1, answer, func(m request, a Answer) {
		if want := byte(served); len(a.Data) != 1 || a.Data[0] != want {
			t.Errorf("reply %v, not %d", a.Data, want)
		}
		if served == many {
			close(done)
			return
		}
		p.work <- m.Msg
	}, func(request) { t.Error("refused") }, oneEach)
	p.work <- message("")
	<-done
	p.stop()
}

func TestPoolHandlesAllThatArrivedBeforeStop(t *testing.T) {
	t.Parallel()
	w := newWorker(2)
	const many = 500
	for i := range many {
		w.work <- message(strconv.Itoa(i))
	}
	ended := stopping(w.pool)
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

func TestPoolStopWaitsForWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorker(1)
	w.work <- message("slow")
	<-w.started
	ended := stopping(w.pool)
	select {
	case <-ended:
		t.Error("the pool ended while a message was being served")
	default:
	}
	close(w.finish)
	<-ended
}

func TestPoolServesNeverMoreThanItsLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int32Range(1, 8).Draw(t, "limit")
		senders, each := rapid.IntRange(1, 8).Draw(t, "senders"), rapid.IntRange(1, 40).Draw(t, "messages of each")
		yields := rapid.IntRange(0, 3).Draw(t, "yields")
		var serving, most, served, refused atomic.Int32
		p := silentPool(int(limit), func(*nats.Msg) {
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
					p.work <- message("")
				}
			})
		}
		sending.Wait()
		p.stop()
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
