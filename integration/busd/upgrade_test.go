package busd_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
)

// balancer asks whichever of several busd takes a question, as a load balancer in front of them does.
type balancer struct {
	behind []*testbed.Caller
	asked  atomic.Int64
}

// ask reports what the first that takes the question answers; zero when none does.
func (b *balancer) ask() (v testbed.Verdict) {
	for _, c := range b.behind {
		v, err := c.TryCreate("@refused:example.com")
		if err == nil && v.Status != 503 {
			b.asked.Add(1)
			return v
		}
	}
	return testbed.Verdict{}
}

// TestUpgradeOfSeveralBusdLosesNoAsk does what docs/operating.md says of upgrading busd: one after the other is stopped, and
// started again when the one before it is healthy.
func TestUpgradeOfSeveralBusdLosesNoAsk(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	config := "nats: {url: '" + home.URL() + "'}\nmodules:\n  - module: gate\n    timeout: 30s\n    on_failure: skip\nbudget: 40s\n"
	testbed.Worker(t, home.URL(), testbed.Faulty, "gate")
	var all []*testbed.Daemon
	for range 2 {
		own := fmt.Sprintf("state_dir: '%s'\nhttp: {listen: '%s'}\n", t.TempDir(), testbed.FreeAddress(t))
		all = append(all, testbed.Serve(t, own+config))
	}
	stop, asking := make(chan struct{}), sync.WaitGroup{}
	var balancers []*balancer
	for i := range 8 {
		b := &balancer{behind: []*testbed.Caller{testbed.Call(t, all[i%2].URL), testbed.Call(t, all[1-i%2].URL)}}
		balancers = append(balancers, b)
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if v := b.ask(); !v.Refused() || v.DecidedBy != "gate" {
					t.Errorf("an ask got %v", v)
					return
				}
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		for _, b := range balancers {
			until := b.asked.Load() + n
			testbed.Eventually(t, "asks are made", func() bool { return b.asked.Load() >= until || t.Failed() })
		}
	}
	more(10)
	for _, d := range all {
		d.Stop()
		more(10)
		next := d.Again()
		testbed.Eventually(t, "it is healthy", func() bool { rsp, _ := next.Request("GET", "/healthz", nil); return rsp.StatusCode == 200 })
		more(10)
	}
	close(stop)
	asking.Wait()
}

// TestBusdWithAnotherListIsNoticed has two busd on one NATS whose files differ, and then agree.
func TestBusdWithAnotherListIsNoticed(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	config := func(timeout string) string {
		return "nats: {url: '" + home.URL() + "'}\nmodules: [{module: gate, timeout: " + timeout + "}]\n"
	}
	testbed.Worker(t, home.URL(), testbed.Faulty, "gate")
	first, second := testbed.Serve(t, config("1s")), testbed.Serve(t, config("2s"))
	for _, d := range []*testbed.Daemon{first, second} {
		d.Stderr.Line(t, `"level":"warn"`, "have another list of modules")
		testbed.Eventually(t, "it is measured", func() bool { return d.Measured(`modulebus_other_busd{list="other"}`) == 1 })
		rsp, out := d.Request("GET", "/readyz", nil)
		if rsp.StatusCode != 200 {
			t.Errorf("/readyz: %s %s", rsp.Status, out)
		}
		contains(t, "/readyz", string(out), `"ready":true`, `"other_lists":["`)
	}
	second.Reconfigure(config("1s"))
	for _, d := range []*testbed.Daemon{first, second} {
		d.Stderr.Line(t, "have the same list of modules")
		if n := d.Measured(`modulebus_other_busd{list="same"}`); n != 1 {
			t.Errorf("%v others have the same list", n)
		}
	}
	second.Stop()
	testbed.Eventually(t, "the other is gone", func() bool { return first.Measured("modulebus_other_busd") == 0 })
	first.Stop()
}
