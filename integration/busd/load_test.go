package busd_test

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

// askers are clients that ask again and again, each on its own connection, until they are told to stop or turned away.
type askers struct {
	owned sync.WaitGroup
	stop  chan struct{}

	mu     sync.Mutex
	asked  int
	failed map[int][]testbed.Verdict // what was no answer, by asker
}

// startAskers starts that many. What an asker gets other than what module gate refuses is kept.
func startAskers(d *testbed.Daemon, clients int) *askers {
	d.Helper()
	a := &askers{stop: make(chan struct{}), failed: map[int][]testbed.Verdict{}}
	for i := range clients {
		c := testbed.Call(d.T, d.URL)
		a.owned.Go(func() { a.run(c, i) })
	}
	return a
}

func (a *askers) run(c *testbed.Caller, i int) {
	for {
		select {
		case <-a.stop:
			return
		default:
		}
		v, err := c.TryCreate("@refused:example.com")
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return // The ask was never made.
		case err != nil:
			c.Errorf("an ask broke: %v", err)
			return
		}
		if a.note(i, v) {
			return
		}
	}
}

// note reports whether the asker was turned away.
func (a *askers) note(i int, v testbed.Verdict) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if !v.Refused() || v.DecidedBy != "gate" {
		a.failed[i] = append(a.failed[i], v)
	}
	return v.Status == 503
}

// made is how many asks were made.
func (a *askers) made() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// more waits until that many more asks were made.
func (a *askers) more(t *testing.T, n int) {
	t.Helper()
	until := a.made() + n
	testbed.Eventually(t, "asks are made", func() bool { return a.made() >= until })
}

// noneLost has some more asks made, stops, and wants each ask to have been decided by the module.
func (a *askers) noneLost(t *testing.T) {
	t.Helper()
	a.more(t, 100)
	close(a.stop)
	a.owned.Wait()
	if len(a.failed) > 0 {
		t.Errorf("of %d asks some were lost: %v", a.made(), a.failed)
	}
}

func TestBusdThatIsStoppedLosesNoAsk(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate", "    workers: 2\n    timeout: 30s\n    config: {takes: 2ms}\n")+"budget: 40s\n")
	a := startAskers(d, 16)
	a.more(t, 200)
	d.Stop()
	a.owned.Wait()
	for _, failed := range a.failed {
		for _, v := range failed {
			if v.Status != 503 || v.RetryAfter == "" {
				t.Errorf("%v, Retry-After %q; want the module's answer, or 503 with Retry-After", v, v.RetryAfter)
			}
		}
	}
	if n := d.Stderr.Count(`"level":"warn"`) + d.Stderr.Count(`"level":"error"`); n > 0 {
		t.Errorf("%d complaints of a run in which nothing was wrong", n)
	}
}

func TestModuleRollingRestartLosesNothing(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate", "    timeout: 30s\n")+"budget: 40s\n")
	a := startAskers(d, 8)
	for range 3 {
		next := d.Worker(testbed.Faulty, "gate")
		testbed.Eventually(t, "the next worker is there", func() bool { return d.Module("gate").Workers == 2 })
		a.more(t, 100)
		next.Stop()
		a.more(t, 100)
	}
	a.noneLost(t)
	d.Stop()
}

func TestWorkerAnswersWhenTheOtherIsKilled(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate", "    workers: 2\n    timeout: 2s\n    config: {takes: 1ms}\n"))
	a := startAskers(d, 8)
	a.more(t, 100)
	who := d.Create("@refused:example.com").Answer.Refusal.AdditionalFields
	if err := syscall.Kill(int(who["pid"].(float64)), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "busd knows of one worker", func() bool { return d.Stderr.Count("worker ended") == 1 })
	a.more(t, 200)
	testbed.Eventually(t, "busd has started it again", func() bool { return d.Module("gate").Workers == 2 })
	a.more(t, 100)
	close(a.stop)
	a.owned.Wait()
	for _, failed := range a.failed {
		// An asker makes one ask at a time, so it has one that the dead worker may have had.
		if len(failed) > 1 {
			t.Errorf("%d asks of one client were lost, want the one that was under way: %v", len(failed), failed)
		}
		if v := failed[0]; v.Status != 502 || v.Failure != "timeout" || v.Module != "gate" {
			t.Errorf("%v; want what Synapse does when a module fails", v)
		}
	}
	if n := d.Stderr.Count("worker started"); n != 3 {
		t.Errorf("workers were started %d times, want three", n)
	}
	d.Stop()
}

// TestRotationOfCredentialsLosesNoAsk replaces the credentials of a module that is asked without a pause, as often as MODULEBUS_ROTATIONS
// says. How many asks a second there were is in what the test says.
func TestRotationOfCredentialsLosesNoAsk(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "state_dir: '"+t.TempDir()+"'\nmodules:\n"+faulty(t, "gate", "    workers: 2\n    timeout: 30s\n")+"budget: 40s\n")
	a := startAskers(d, 8)
	a.more(t, 100)
	began, asked := time.Now(), a.made()
	for n := range rotations(t) {
		before := d.Module("gate").Processes
		if status, _, problem := testbed.Run(t, "credentials", "--config", d.File, "--rotate", "gate"); status != 0 {
			t.Fatal(problem)
		}
		testbed.Eventually(t, "the credentials are replaced", func() bool { return d.Stderr.Count("credentials were replaced: the old ones") > n })
		for _, p := range d.Module("gate").Processes {
			if slices.Contains(before, p) {
				t.Errorf("worker %+v goes on with the old credentials", p)
			}
		}
	}
	t.Logf("%.0f asks a second", float64(a.made()-asked)/time.Since(began).Seconds())
	a.noneLost(t)
	d.Stop()
}

func rotations(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("MODULEBUS_ROTATIONS"), "1"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
