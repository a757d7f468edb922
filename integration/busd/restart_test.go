package busd_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// restarted runs busd restart on a module, and wants all of its workers to be new ones.
func restarted(t *testing.T, d *testbed.Daemon, module string) {
	t.Helper()
	before := d.Module(module)
	status, out, problem := testbed.Run(t, "restart", "--url", d.URL, module)
	if status != 0 || !strings.Contains(out, "restarted "+module) {
		t.Errorf("status %d: %s%s", status, out, problem)
		return
	}
	after := d.Module(module)
	if after.Workers != len(before.Processes) || len(after.Processes) != len(before.Processes) {
		t.Errorf("%s has %d workers in %d places, want %d", module, after.Workers, len(after.Processes), len(before.Processes))
	}
	for _, p := range after.Processes {
		if p.PID == 0 || slices.Contains(before.Processes, p) {
			t.Errorf("%s goes on with worker %+v", module, p)
		}
	}
}

func TestRestartUnderLoadLosesNoAsk(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate", "    workers: 3\n    timeout: 30s\n    config: {takes: 100ms}\n")+"budget: 40s\n")
	a := startAskers(d, 64)
	for range 4 {
		a.more(t, 100)
		restarted(t, d, "gate")
	}
	a.noneLost(t)
	d.Stop()
}

// webFaulty is a module with pages.
func webFaulty(t *testing.T) string {
	t.Helper()
	return "  - module: web\n    run: [" + testbed.Program(t, testbed.WebFaulty) + "]\n    workers: 2\n"
}

// begun is the body of a response that has begun.
func begun(t *testing.T, url string) io.ReadCloser {
	t.Helper()
	req, err := http.NewRequestWithContext(testbed.Bounded(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rsp.Body.Close() })
	return rsp.Body
}

func TestRestartLetsDownloadsEnd(t *testing.T) {
	t.Parallel()
	const size = 32 << 20 // More than fits anywhere on the way.
	d := testbed.Serve(t, "modules:\n"+webFaulty(t))
	var bodies []io.ReadCloser
	for range 8 {
		bodies = append(bodies, begun(t, fmt.Sprintf("%s/f/page?bytes=%d", d.URL, size)))
	}
	done := make(chan struct{})
	go func() { defer close(done); restarted(t, d, "web") }()
	testbed.Eventually(t, "a worker is told to stop", func() bool { return d.Module("web").Workers == 2 && d.Stderr.Count("worker started") == 3 })
	for _, b := range bodies {
		if n, err := io.Copy(io.Discard, b); n != size || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	<-done
	d.Stop()
}

func TestRestartCutsWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+webFaulty(t)+faulty(t, "gate", "    timeout: 30s\n")+"budget: 40s\n")
	endless := begun(t, d.URL+"/f/head")
	if rsp, out := d.Request(http.MethodPost, testbed.CreatePath, []byte(`{"user_id": "@hang:example.com"}`), "X-Modulebus-Timeout", "100ms"); rsp.StatusCode != 502 {
		t.Errorf("%s %s; want the failure of the module, which hangs from now on", rsp.Status, out)
	}
	a := startAskers(d, 8)
	var both sync.WaitGroup
	for _, module := range []string{"web", "gate"} {
		both.Go(func() { restarted(t, d, module) })
	}
	both.Wait()
	a.noneLost(t)
	if got, err := io.ReadAll(endless); string(got) != "begun" || err == nil {
		t.Errorf("%q, %v; want what there was, and that it was cut", got, err)
	}
	if n := d.Stderr.Count("killed"); n > 0 {
		t.Errorf("%d workers were killed that end by themselves", n)
	}
	d.Stop()
}

// lateFaulty is a program that is the module faulty, but the n-th that is started never joins.
func lateFaulty(t *testing.T, n int) string {
	t.Helper()
	starts, script := filepath.Join(t.TempDir(), "starts"), filepath.Join(t.TempDir(), "module.sh")
	testbed.Write(t, script, fmt.Sprintf("echo >>%[1]s\n[ $(wc -l <%[1]s) = %d ] && exec sleep 600\nexec %s\n", starts, n, testbed.Program(t, testbed.Faulty)))
	return script
}

func TestRestartStopsAtAWorkerThatDoesNotJoin(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n  - module: gate\n    run: [sh, "+lateFaulty(t, 5)+"]\n    workers: 3\n    timeout: 30s\nbudget: 40s\n")
	a := startAskers(d, 8)
	before := d.Module("gate").Processes
	status, out, problem := testbed.Run(t, "restart", "--url", d.URL, "--timeout", "3s", "gate")
	if status != 1 || out != "" {
		t.Errorf("status %d: %s", status, out)
	}
	contains(t, "the error", problem, "module gate: 1 of 3 workers are new; worker 1 was not replaced, and the old one goes on", "has not joined in")
	testbed.Eventually(t, "three workers are there", func() bool { return d.Module("gate").Workers == 3 })
	if after := d.Module("gate").Processes; after[0] == before[0] || after[1] != before[1] || after[2] != before[2] {
		t.Errorf("%+v became %+v", before, after)
	}
	a.noneLost(t)
	d.Stop()
}
