package supervise

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
)

func TestWorkersDieWithTheirSupervisor(t *testing.T) {
	t.Parallel()
	calls := listen(t)
	cmd := exec.Command(os.Args[0], "busd", "serve")
	cmd.Env = append(os.Environ(), childOf(calls)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := answer(t, calls)
	c.says("up ")
	cmd.Process.Kill()
	cmd.Wait()
	c.says("draining")
	c.end()
	c.over()
}

// The kernel's parent is a thread: were it not held, a worker would be told of its death while all is well.
func TestWorkersOutliveThreads(t *testing.T) {
	t.Parallel()
	const workers = 4
	var s *stage
	o := Options{Command: self("serve"), Workers: workers}
	o.Started = func(w Worker) {
		endThreads(20)
		s.started <- w
	}
	s = prepare(t, o)
	s.begin()
	for range workers {
		next(t, s.started)
		c := s.answer()
		c.says("up ")
		c.end() // when it is told
	}
	s.stop()
	for range workers {
		if e := next(t, s.exited); e.Next != Stops {
			t.Errorf("%+v", e)
		}
	}
}

// endThreads ends up to n threads of this process: one ends with a goroutine that holds it.
func endThreads(n int) {
	var all sync.WaitGroup
	for range n {
		all.Go(runtime.LockOSThread)
	}
	all.Wait()
}

func TestInGroup(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		stat string
		want bool
	}{
		"a member":       {"12 (sh) S 1 7 7 0", true},
		"a stranger":     {"12 (sh) S 1 8 7 0", false},
		"a zombie":       {"12 (sh) Z 1 7 7 0", false},
		"a strange name": {"12 (a) Z 1 8 (b)) S 1 7 7 0", true},
		"nothing":        {"", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := inGroup([]byte(tt.stat), 7); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
