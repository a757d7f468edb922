package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/childlog"
)

func TestCrashedWorkerIsRestartedLaterAndLater(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("exit", "3"), MinDelay: time.Millisecond})
	low, high := 500*time.Microsecond, time.Millisecond
	for range 5 {
		w, e := next(t, s.started), next(t, s.exited)
		if e.Worker != w || e.Status != 3 || e.Next != Restarts || e.Delay < low || e.Delay > high {
			t.Errorf("%+v, want a delay of %v to %v", e, low, high)
		}
		if e.Err == nil || e.Err.Error() != "demo: worker 0: exit status 3" {
			t.Error(e.Err)
		}
		low, high = 2*low, 2*high
	}
}

func TestProcessThatEndsHasCrashed(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("exit", "0"), MinDelay: time.Millisecond})
	e := next(t, s.exited)
	if e.Next != Restarts || e.Err == nil || e.Status != 0 {
		t.Errorf("%+v", e)
	}
	next(t, s.exited)
}

func TestProcessKilledByASignalHasCrashed(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("stubborn"), MinDelay: time.Millisecond, Drain: time.Millisecond})
	s.answer()
	syscall.Kill(next(t, s.started).PID, syscall.SIGKILL)
	e := next(t, s.exited)
	if e.Next != Restarts || e.Status != -1 || !strings.HasSuffix(e.Err.Error(), "signal: killed") {
		t.Errorf("%+v", e)
	}
	next(t, s.started)
}

func TestRefusalWaitsForAnotherConfiguration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config")
	s := run(t, Options{Command: self("needs", file), MinDelay: time.Nanosecond, MaxDelay: time.Nanosecond})
	e := next(t, s.exited)
	if e.Next != AwaitsConfig || e.Status != Refused || e.Said != "refused: config.deny: not a list" || e.Err == nil {
		t.Errorf("%+v", e)
	}
	if p := s.group.Processes()[0]; p.Ends != 0 || p.Last == nil {
		t.Errorf("one that is not started again is counted: %+v", p)
	}
	s.group.Reconfigure()
	if e := next(t, s.exited); e.Next != AwaitsConfig {
		t.Errorf("%+v", e)
	}
	if n := len(s.started); n != 2 {
		t.Errorf("started %d times", n)
	}
	os.WriteFile(file, nil, 0o600)
	s.group.Reconfigure()
	s.answer().says("up ")
}

func TestChangeDuringARefusalIsNotMissed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config")
	var s *stage
	starts := 0
	o := Options{Command: self("needs", file)}
	o.Started = func(Worker) {
		if starts++; starts == 1 {
			s.group.Reconfigure()
		}
	}
	s = prepare(t, o)
	s.begin()
	for range 2 {
		if e := next(t, s.exited); e.Next != AwaitsConfig {
			t.Errorf("%+v", e)
		}
	}
}

func TestRestartWaitsForItsDelay(t *testing.T) {
	t.Parallel()
	var s *stage
	starts := make(chan time.Time, 100)
	o := Options{Command: self("exit", "3"), MinDelay: 100 * time.Millisecond}
	o.Started = func(Worker) {
		starts <- time.Now()
		s.group.Reconfigure() // which is no reason to haste, once it has come to a worker that ran
	}
	s = prepare(t, o)
	s.begin()
	next(t, starts)
	e := next(t, s.exited)
	if got := next(t, starts).Sub(e.At); got < e.Delay {
		t.Errorf("%v after %+v", got, e)
	}
}

func TestReconfigureEndsAnyWait(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("exit", "3"), MinDelay: time.Hour, MaxDelay: time.Hour})
	for range 3 {
		if e := next(t, s.exited); e.Delay < 30*time.Minute {
			t.Errorf("%+v", e)
		}
		next(t, s.started)
		s.group.Reconfigure()
	}
}

func TestProcessHasItsOwnID(t *testing.T) {
	t.Parallel()
	ids := make(chan string, 4)
	for _, id := range []string{"a", "b", "c", "d"} {
		ids <- id
	}
	o := Options{Command: self("serve"), Workers: 2, MinDelay: time.Millisecond}
	o.WorkerID = func(n int) string { return strconv.Itoa(n) + <-ids }
	s := run(t, o)
	seen := map[string]bool{}
	for range 2 {
		w := next(t, s.started)
		seen[w.ID] = true
		if w.ID[0] != byte('0'+w.Ordinal) {
			t.Errorf("%+v", w)
		}
	}
	first, second := s.answer(), s.answer()
	for _, c := range []*call{first, second} {
		if line, _ := c.lines.ReadString('\n'); !seen[strings.TrimSpace(strings.TrimPrefix(line, "up "))] {
			t.Errorf("%q of %v", line, seen)
		}
	}
	first.end() // read when it drains
	s.stop()
	second.end()
	next(t, s.done)
	if len(seen) != 2 {
		t.Error(seen)
	}
}

func TestWorkerDrains(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("serve"), Drain: patience})
	c := s.answer()
	c.says("up ")
	s.stop()
	c.says("draining")
	select {
	case err := <-s.done:
		t.Fatal("did not wait", err)
	default:
	}
	c.end()
	if said := c.over(); said != "" {
		t.Errorf("the worker said %q", said)
	}
	if err := next(t, s.done); err != nil {
		t.Error(err)
	}
	if e := next(t, s.exited); e.Next != Stops || e.Err != nil || e.Status != 0 {
		t.Errorf("%+v", e)
	}
}

func TestWorkerThatIgnoresSIGTERMIsKilled(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("stubborn"), Drain: 50 * time.Millisecond})
	c := s.answer()
	s.stop()
	if err := next(t, s.done); err != nil {
		t.Error(err)
	}
	c.over()
	e := next(t, s.exited)
	if e.Next != Stops || e.Err == nil || !strings.Contains(e.Err.Error(), "still running 50ms after SIGTERM") {
		t.Errorf("%+v", e)
	}
}

func shell(script string) []string {
	return []string{"sh", "-c", strings.ReplaceAll(script, "SELF", quoted(os.Args[0]))}
}

// As under `go run`: the process that was started dies of SIGTERM, and its child is still to drain.
func TestChildDrains(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: shell("SELF serve & wait"), Drain: patience})
	c := s.answer()
	c.says("up ")
	s.stop()
	c.says("draining")
	if e := next(t, s.exited); e.Next != Stops || e.Err != nil {
		t.Errorf("%+v", e)
	}
	select {
	case err := <-s.done:
		t.Fatal("did not wait", err)
	default:
	}
	c.end()
	if err := next(t, s.done); err != nil {
		t.Error(err)
	}
}

func TestChildIsKilled(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: shell("SELF stubborn & wait"), Drain: 50 * time.Millisecond})
	c := s.answer()
	s.stop()
	if err := next(t, s.done); err != nil {
		t.Error(err)
	}
	c.over()
}

func TestLeftoversOfACrashAreGoneBeforeTheNextStart(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("leave", "stubborn"), Drain: 50 * time.Millisecond, MinDelay: time.Millisecond})
	first := s.answer()
	if e := next(t, s.exited); e.Status != 3 || e.Next != Restarts {
		t.Errorf("%+v", e)
	}
	second := s.answer()
	first.SetDeadline(time.Now().Add(time.Second)) // the kernel closes a dead process's connections
	first.over()
	s.stop()
	next(t, s.done)
	second.over()
}

func TestLeftoversOfACrashMayDrain(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("leave", "serve"), Drain: patience, MinDelay: time.Hour, MaxDelay: time.Hour})
	c := s.answer()
	c.says("up ")
	next(t, s.exited)
	c.says("draining")
	c.end()
	if said := c.over(); said != "" {
		t.Errorf("the worker said %q", said)
	}
}

func TestGroupIsAskedOnce(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread() // as start wants it
	defer runtime.UnlockOSThread()
	calls := listen(t)
	o := &New(Options{Command: self("serve"), Env: childOf(calls)}).opts
	p, err := start(t.Context(), o, "", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	c := answer(t, calls)
	c.says("up ")
	p.terminate()
	c.says("draining")
	p.terminate()
	c.end()
	if said := c.over(); said != "" {
		t.Errorf("the worker said %q", said)
	}
	p.wait()
	if err := p.clear(zerolog.Nop()); err != nil {
		t.Error(err)
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", childlog.MaxLine)
	o := Options{Command: self("say", "out\n", "err\n", `{"level":"debug","n":1,"message":"deep"}`+"\n"+long[:1000])}
	o.WorkerID = func(int) string { return "w1" }
	s := run(t, o)
	want := map[string]string{"out": "info stdout", "err": "warn stderr", "deep": "debug <nil>", long[:1000]: "info stdout"}
	for len(want) > 0 {
		m := next(t, s.log)
		message, _ := m["message"].(string)
		if got := fmt.Sprint(m["level"], " ", m["stream"]); want[message] != "" && got != want[message] {
			t.Errorf("%q: %s", message, got)
		}
		if m["module"] != "demo" || m["worker"] != "w1" {
			t.Errorf("%v", m)
		}
		delete(want, message)
	}
	if e := next(t, s.exited); e.Said != "err" {
		t.Errorf("%+v", e)
	}
}

func TestFloodIsCut(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("flood"), MinDelay: time.Hour, MaxDelay: time.Hour})
	m := s.line(strings.Repeat("x", childlog.MaxLine))
	if m["cut"] != true {
		t.Error("not marked")
	}
	s.line("end")
}

func TestCommandThatCannotBeStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "text"), []byte("x"), 0o600)
	tests := map[string]struct {
		o    Options
		want []string
		is   error
	}{
		"not in PATH":     {Options{Command: []string{"no-such-module"}}, []string{`"no-such-module"`, "install it", os.Getenv("PATH")}, exec.ErrNotFound},
		"no such path":    {Options{Command: []string{"./no-such-module"}, Dir: dir}, []string{`"./no-such-module"`, dir, "exists"}, os.ErrNotExist},
		"no such folder":  {Options{Command: []string{"sh"}, Dir: filepath.Join(dir, "none")}, []string{"does not exist"}, os.ErrNotExist},
		"not executable":  {Options{Command: []string{"./text"}, Dir: dir}, []string{"chmod +x"}, os.ErrPermission},
		"not an argument": {Options{Command: []string{"sh", "a\x00b"}}, []string{"invalid argument"}, syscall.EINVAL},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.o.MinDelay = time.Millisecond
			s := run(t, tt.o)
			e := next(t, s.exited)
			if e.Next != Restarts || e.PID != 0 || e.Status != -1 || !errors.Is(e.Err, tt.is) {
				t.Errorf("%+v", e)
			}
			for _, want := range append(tt.want, "demo: worker 0: cannot start") {
				if !strings.Contains(e.Err.Error(), want) {
					t.Errorf("%q is not in: %v", want, e.Err)
				}
			}
			if e := next(t, s.exited); len(s.started) > 0 || e.Delay < time.Millisecond {
				t.Errorf("not later: %+v", e)
			}
		})
	}
}

func TestGroupWithoutACommand(t *testing.T) {
	t.Parallel()
	if err := New(Options{Module: "demo"}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "demo") {
		t.Error(err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"restart": self("exit", "3"),
		"refusal": self("exit", "78"),
		"start":   {"no-such-module"},
	}
	for name, command := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := run(t, Options{Command: command, MinDelay: time.Hour, MaxDelay: time.Hour})
			next(t, s.exited)
			s.stop()
			if err := next(t, s.done); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestContextThatHasEndedStartsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := Options{Command: self("exit", "3"), Exited: func(e Exit) { t.Errorf("%+v", e) }}
	if err := New(o).Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestEnvironmentOfAWorkerIsAShortList(t *testing.T) {
	t.Parallel()
	environ := []string{"PATH=/bin", "HTTP_TOKEN=hunter2", "LC_ALL=C", "MODULEBUS_CREDENTIALS=mine", "DATABASE_URL=db", "GOCACHE=/c", "GOOGLE_APPLICATION_CREDENTIALS=x"}
	got := Environment(environ, []string{"DATABASE_URL"})
	want := []string{"PATH=/bin", "LC_ALL=C", "DATABASE_URL=db", "GOCACHE=/c"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReasonHasTheLastWords(t *testing.T) {
	t.Parallel()
	s := run(t, Options{Command: self("say", "", "panic: boom\n\ngoroutine 1 [running]:\n"), MinDelay: time.Hour, MaxDelay: time.Hour})
	if e := next(t, s.exited); e.Reason() != "demo: worker 0: exit status 3: panic: boom" {
		t.Error(e.Reason())
	}
}
