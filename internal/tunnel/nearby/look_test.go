package nearby_test

import (
	"bytes"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/modulebus/modulebus/internal/tunnel/nearby"
)

// TestLookLetsThroughWhatHasArrived is about Go's scheduler: without the look, a goroutine that only yields is run
// again before one that waits for the network. It needs all processors, so it is not parallel.
//
//nolint:paralleltest // As said.
func TestLookLetsThroughWhatHasArrived(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	here, there := connected(t)
	var look nearby.Look
	defer look.Close()
	look.Await() // It is open now.
	var pages atomic.Int64
	var running sync.WaitGroup
	running.Go(func() {
		for b := make([]byte, 1); ; pages.Add(1) {
			if _, err := there.Read(b); err != nil {
				return
			}
		}
	})
	const rounds = 200
	through := 0
	for i := range int64(rounds) {
		if _, err := here.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		look.Await()
		runtime.Gosched()
		if pages.Load() > i {
			through++
		}
		for pages.Load() <= i {
			runtime.Gosched()
		}
	}
	_ = here.Close()
	running.Wait()
	if through < rounds*3/4 { // The rest was seen by a thread that slept in the network, and is on its way.
		t.Errorf("%d of %d pages were let through", through, rounds)
	}
}

func TestLooksTogether(t *testing.T) {
	t.Parallel()
	var look nearby.Look
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			for range 200 {
				look.Await()
			}
		})
	}
	running.Wait()
	look.Close()
	look.Await() // It does not wait for what is closed.
}

func TestLookThatWasNeverNeeded(t *testing.T) {
	t.Parallel()
	var look nearby.Look
	look.Close()
	look.Await()
}

func TestSeveralLinesGiveWay(t *testing.T) {
	t.Parallel()
	g, place, name := hosted(t, "alone", "a", "b")
	large := bytes.Repeat([]byte("body"), 64<<10)
	for _, tokens := range [][]string{{"alone"}, {"a", "b"}} {
		var lines []*nearby.Line
		for _, token := range tokens {
			lines = append(lines, reach(t, name, token))
		}
		for _, l := range lines {
			if err := l.Send(large); err != nil {
				t.Fatal(err)
			}
			l.Leave()
			token := <-g.parted
			g.mu.Lock()
			got := g.frames[token]
			g.mu.Unlock()
			if len(got) != 1 || !bytes.Equal(got[0], large) {
				t.Errorf("%s brought %d frames, or another", token, len(got))
			}
			l.Close()
		}
		if got := place.GaveWay(); got != (len(tokens) > 1) {
			t.Errorf("%d lines gave way: %v", len(tokens), got)
		}
	}
}

// connected returns two ends of a connection.
func connected(t *testing.T) (here, there *net.UnixConn) {
	t.Helper()
	at := &net.UnixAddr{Net: "unix", Name: filepath.Join(t.TempDir(), "s")}
	l, err := net.ListenUnix("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = net.DialUnix("unix", nil, at); err != nil {
		t.Fatal(err)
	}
	if there, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = here.Close(); _ = there.Close() })
	return here, there
}
