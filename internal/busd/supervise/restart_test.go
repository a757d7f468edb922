package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// replaced is a group of so many workers that serve, with the connections of all.
func replaced(t *testing.T, workers int) (*stage, []*call) {
	t.Helper()
	var ids atomic.Int32
	s := run(t, Options{Command: self("serve"), Workers: workers, WorkerID: func(int) string { return strconv.Itoa(int(ids.Add(1))) }})
	var calls []*call
	for range workers {
		calls = append(calls, s.answer())
		next(t, s.started)
	}
	return s, calls
}

func TestRestartStopsAWorkerOnlyWhenAnotherIsReady(t *testing.T) {
	t.Parallel()
	s, old := replaced(t, 1)
	ready := make(chan error)
	done := make(chan error, 1)
	go func() { done <- s.group.Restart(t.Context(), func(context.Context, Worker) error { return <-ready }) }()
	fresh := s.answer()
	fresh.says("up 2")
	old[0].says("up 1")
	if w := next(t, s.started); w.ID != "2" || len(s.exited) > 0 {
		t.Errorf("started %+v, and %d ended", w, len(s.exited))
	}
	ready <- nil
	old[0].says("draining")
	old[0].end()
	if err := next(t, done); err != nil {
		t.Error(err)
	}
	if e := next(t, s.exited); e.ID != "1" || e.Next != Stops || e.Err != nil {
		t.Errorf("%+v", e)
	}
	if p := s.group.Processes(); len(p) != 1 || p[0].ID != "2" || p[0].Ends != 0 || p[0].Started.IsZero() {
		t.Errorf("%+v", p)
	}
}

func TestRestartKeepsAWorkerWhoseSuccessorIsNotReady(t *testing.T) {
	t.Parallel()
	s, _ := replaced(t, 2)
	var successor *call
	err := s.group.Restart(t.Context(), func(context.Context, Worker) error {
		successor = s.answer()
		defer successor.end()
		return errors.New("it has not joined")
	})
	if err == nil || !strings.Contains(err.Error(), "worker 0") || !strings.Contains(err.Error(), "it has not joined") {
		t.Error(err)
	}
	successor.over()
	if p := s.group.Processes(); len(p) != 2 || p[0].ID == "3" || p[1].ID == "3" || p[0].Started.IsZero() || p[1].Started.IsZero() {
		t.Errorf("%+v", p)
	}
}

func TestRestartKeepsAWorkerWhoseSuccessorEnds(t *testing.T) {
	t.Parallel()
	var starts atomic.Int32
	folder := t.TempDir()
	file := filepath.Join(folder, "good")
	os.WriteFile(file, nil, 0o600)
	s := run(t, Options{Command: self("needs", file), WorkerID: func(int) string { starts.Add(1); return "w" }})
	c := s.answer()
	os.Remove(file)
	err := s.group.Restart(t.Context(), func(ctx context.Context, _ Worker) error { <-ctx.Done(); return ctx.Err() })
	if err == nil || !strings.Contains(err.Error(), "refused its configuration") || !strings.Contains(err.Error(), "config.deny: not a list") {
		t.Error(err)
	}
	c.says("up w")
	if starts.Load() != 2 {
		t.Errorf("%d starts", starts.Load())
	}
}

func TestRestartWaitsForAnotherAsLongAsItMay(t *testing.T) {
	t.Parallel()
	s, old := replaced(t, 1)
	works, ready, done := make(chan struct{}), make(chan error), make(chan error, 1)
	go func() {
		done <- s.group.Restart(t.Context(), func(context.Context, Worker) error { close(works); return <-ready })
	}()
	next(t, works)
	s.answer()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.group.Restart(ctx, nil); !errors.Is(err, errRestarting) {
		t.Error(err)
	}
	ready <- nil
	old[0].end()
	if err := next(t, done); err != nil {
		t.Error(err)
	}
}

func TestRestartOfAGroupThatDoesNotRunIsAnError(t *testing.T) {
	t.Parallel()
	g := New(Options{Module: "demo", Command: self("serve")})
	if err := g.Restart(t.Context(), nil); !errors.Is(err, errNotRunning) {
		t.Error(err)
	}
}

func TestRestartEndsWithItsGroup(t *testing.T) {
	t.Parallel()
	s, old := replaced(t, 1)
	done := make(chan error, 1)
	waits := make(chan struct{})
	go func() {
		done <- s.group.Restart(context.Background(), func(ctx context.Context, _ Worker) error {
			close(waits)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	next(t, waits)
	fresh := s.answer()
	s.stop()
	old[0].end()
	fresh.end()
	if err := next(t, done); err == nil {
		t.Error("no error")
	}
	if err := next(t, s.done); err != nil {
		t.Error(err)
	}
}

func TestWorkerStoppedByHandIsNoWarning(t *testing.T) {
	t.Parallel()
	s, calls := replaced(t, 1)
	w := s.group.Processes()[0]
	syscall.Kill(w.PID, syscall.SIGTERM)
	calls[0].end()
	if m := s.line("worker ended"); m["level"] != "info" || m["next"] != "restarts" {
		t.Errorf("%v", m)
	}
	next(t, s.exited)
	if p := s.group.Processes()[0]; p.Ends != 1 || p.Last == nil || !strings.Contains(p.Last.Err.Error(), "exit status 0") {
		t.Errorf("%+v", p)
	}
}

func TestWorkerThatIsEndedIsStartedAgain(t *testing.T) {
	t.Parallel()
	s, calls := replaced(t, 1)
	first := s.group.Processes()[0]
	s.group.End("nobody", "it is another one")
	s.group.End(first.ID, "it did not join")
	s.group.End(first.ID, "it is ended once")
	calls[0].end()
	e := next(t, s.exited)
	if e.ID != first.ID || e.Next != Restarts || e.Err == nil || !strings.Contains(e.Err.Error(), "worker 0: was ended by busd: it did not join") {
		t.Errorf("%+v", e)
	}
	if m := s.line("worker ended"); m["level"] != "warn" {
		t.Errorf("%v", m)
	}
	s.answer().says("up 2")
	next(t, s.started)
	if p := s.group.Processes()[0]; p.ID == first.ID || p.Ends != 1 || p.Started.IsZero() {
		t.Errorf("%+v", p)
	}
}

// TestFrozenWorkerIsEnded has one that a signal to end does not reach.
func TestFrozenWorkerIsEnded(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("serve"), WorkerID: func(int) string { return "w" }, Drain: 50 * time.Millisecond})
	s.answer()
	syscall.Kill(next(t, s.started).PID, syscall.SIGSTOP)
	s.group.End("w", "it is silent")
	if e := next(t, s.exited); e.Next != Restarts || !strings.Contains(e.Err.Error(), "was ended by busd: it is silent") {
		t.Errorf("%+v", e)
	}
	next(t, s.started)
}
