package nearby_test

import (
	"io"
	"net"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/modulebus/modulebus/internal/tunnel/nearby"
)

//nolint:paralleltest // It changes how many processors all tests have.
func TestBodiesLeaveAProcessorToWhatElseArrives(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for processors, turns := range map[int]int{1: 1, 2: 1, 3: 2, 8: 7} {
		runtime.GOMAXPROCS(processors)
		var lines nearby.Lines
		if got := lines.Turns(); got != turns {
			t.Errorf("on %d processors %d pieces are moved at once", processors, got)
		}
		lines.Close()
	}
}

// TestTurnsFollowTheProcessors has a process whose cgroup gets a higher limit, and a lower one.
//
//nolint:paralleltest // As above.
func TestTurnsFollowTheProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var lines nearby.Lines
	defer lines.Close()
	line := func() {
		here, _ := connected(t)
		if _, err := lines.Go(func() (*nearby.Line, error) { return nearby.LineOn(here), nil }, func(l *nearby.Line) { _, _ = l.Next() }); err != nil {
			t.Fatal(err)
		}
	}
	line()
	for _, processors := range []int{2, 4, 1} {
		runtime.GOMAXPROCS(processors)
		line()
		if got, want := lines.Turns(), max(1, processors-1); got != want {
			t.Errorf("on %d processors %d pieces are moved at once", processors, got)
		}
	}
}

// TestStalledLineHoldsNoTurn has one line whose other side reads nothing. Where there is one turn, the other needs it.
//
//nolint:paralleltest // As above.
func TestStalledLineHoldsNoTurn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	var lines nearby.Lines
	defer lines.Close()
	line := func() (l *nearby.Line, other io.Reader) {
		here, there := connected(t)
		l, err := lines.Go(func() (*nearby.Line, error) { return nearby.LineOn(here), nil }, func(l *nearby.Line) { _, _ = l.Next() })
		if err != nil {
			t.Fatal(err)
		}
		return l, there
	}
	stalled, silent := line()
	quick, other := line()
	large := make([]byte, nearby.MaxFrame)
	sent := make(chan error)
	go func() { sent <- stalled.Send(large) }()
	if _, err := io.ReadFull(silent, make([]byte, 4)); err != nil { // It has begun.
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, other) }()
	for range 16 {
		if err := quick.Send(large); err != nil {
			t.Fatal(err)
		}
	}
	stalled.Close()
	if err := <-sent; err == nil {
		t.Error("nobody read the frame, and it was sent")
	}
}

// TestFrameThatBreaksOffInATurnIsNone has a worker that ends in the middle of a frame whose rest is read in turns.
//
//nolint:paralleltest // As above.
func TestFrameThatBreaksOffInATurnIsNone(t *testing.T) {
	for _, processors := range []int{1, 2} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		g, _, name := hosted(t, "other", "token")
		reach(t, name, "other")
		for _, part := range []int{0, 1, 64 << 10, 100_000} {
			g.mu.Lock()
			g.streams["token"] = nil
			g.mu.Unlock()
			conn, err := net.Dial("unix", filepath.Join(folder(), name))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("\x05token")); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(append([]byte{0, 2, 0, 0}, make([]byte, part)...)); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			<-g.parted
			g.mu.Lock()
			if n := len(g.frames["token"]); n > 0 {
				t.Errorf("%d bytes of a frame are %d frames", part, n)
			}
			g.mu.Unlock()
		}
	}
}
