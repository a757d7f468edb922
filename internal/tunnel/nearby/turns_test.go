package nearby_test

import (
	"io"
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
