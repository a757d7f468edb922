//go:build integration

package python_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

const (
	bodies   = "/_synapse/client/bodies"
	bodySize = 100 << 20
)

// TestCostsOfPython measures what modules in Python cost, side by side with what one would use instead, and prints a table. Both
// sides take turns, and a ratio is the median of those of the rounds, with its quartiles. Nothing about time is asserted.
//
//nolint:paralleltest // what is measured has the machine to itself
func TestCostsOfPython(t *testing.T) {
	if os.Getenv("MODULEBUS_COSTS") == "" {
		t.Skip("make bench-python measures this, for some minutes")
	}
	lines := []string{"| what | ours | the peer | ratio (quartiles) | bar |", "|---|---|---|---|---|"}
	for _, part := range []struct {
		name    string
		measure func(*costs)
	}{{"memory", (*costs).memory}, {"asks", (*costs).asks}, {"starts", (*costs).starts}, {"bodies", (*costs).bodies}} {
		t.Run(part.name, func(t *testing.T) {
			c := costs{T: t}
			part.measure(&c)
			lines = append(lines, c.lines...)
		})
	}
	t.Logf("\n%s", strings.Join(lines, "\n"))
}

// costs is a table that grows.
type costs struct {
	*testing.T
	lines []string
}

// side is done once, and says how much it was.
type side func() float64

// row measures two sides so many times, and adds a line.
func (c *costs) row(what, format, bar string, rounds int, ours, peer side) {
	c.Helper()
	var a, b, ratios []float64
	for n := range rounds + 1 {
		var x, y float64
		if n%2 == 0 {
			x, y = ours(), peer()
		} else {
			y, x = peer(), ours()
		}
		if n > 0 { // The first round is to warm up.
			a, b, ratios = append(a, x), append(b, y), append(ratios, x/y)
		}
	}
	c.add("| %s | "+format+" | "+format+" | %.2f (%.2f–%.2f) | %s |", what, quantile(a, 2), quantile(b, 2),
		quantile(ratios, 2), quantile(ratios, 1), quantile(ratios, 3), bar)
}

func (c *costs) add(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	c.lines = append(c.lines, line)
	c.Log(line)
}

// quantile is the lower quartile, the median or the upper quartile.
func quantile(of []float64, quarters int) float64 {
	slices.Sort(of)
	return of[(len(of)-1)*quarters/4]
}

// programs are the same module three times, by its name.
func (c *costs) programs() map[string][]string {
	kit := `"PYTHONPATH=` + absolute(c.T, "bridges/python") + ":" + absolute(c.T, "integration/python/testdata") + `"`
	python := testbed.Python(c.T)
	return map[string][]string{
		"bare":    {python, absolute(c.T, "examples/python/gate.py")},
		"kit":     {"env", kit, python, absolute(c.T, "examples/python/kit.py")},
		"synapse": {"env", kit, python, "-m", "modulebus.synapse", "denying.Deny"},
	}
}

func (c *costs) serve(name string) *testbed.Daemon {
	c.Helper()
	return testbed.Serve(c.T, fmt.Sprintf("%smodules:\n  - module: gate\n    run: [%s]\n    config: {deny: [%q]}\n",
		unknowing(c.T), strings.Join(c.programs()[name], ", "), evil))
}

// memory is what a worker that is ready, and was asked something, has in memory.
func (c *costs) memory() {
	for _, of := range []struct {
		name, what string
		most       int
	}{{"kit", "memory of a worker with `modulebus`", 40}, {"synapse", "memory of a worker with `modulebus[synapse]`", 130}, {"bare", "memory of a worker without a kit", 0}} {
		d := c.serve(of.name)
		for range 1000 {
			d.Create(alice)
		}
		bar := ""
		if of.most > 0 {
			bar = fmt.Sprintf("≤ %d MiB", of.most)
		}
		c.add("| %s | %.0f MiB | | | %s |", of.what, resident(c.T, pid(d)), bar)
		d.Stop()
	}
}

// pid is the process of the one module.
func pid(d *testbed.Daemon) int {
	return d.Module("gate").Processes[0].PID
}

// resident is what Linux says is in memory, in MiB.
func resident(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return float64(kib) / 1024
}

// asks ask through package bus, as a homeserver in Go does.
func (c *costs) asks() {
	asking := map[string]*bus.Client{}
	for name := range c.programs() {
		client, err := bus.New(c.Context(), c.serve(name).ConnectHomeserver(), bus.Options{ServerName: "example.com"})
		if err != nil {
			c.Fatal(err)
		}
		c.Cleanup(client.Close)
		asking[name] = client
	}
	for _, callers := range []int{1, 16} {
		for _, name := range []string{"kit", "synapse"} {
			c.row(fmt.Sprintf("ask of `%s`, against seventy lines of nats-py, %d callers", name, callers), "%.0f µs", "≤ 1.5", 30,
				c.asked(asking[name], callers), c.asked(asking["bare"], callers))
		}
	}
}

// asked is the time between one ask and the next, in microseconds.
func (c *costs) asked(client *bus.Client, callers int) side {
	const asks = 800
	return func() float64 {
		began := time.Now()
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				for n := range asks / callers {
					user := alice
					if n%10 == 0 {
						user = evil
					}
					d, err := client.SpamChecker.UserMayCreateRoom(c.Context(), &callbacksv1.UserMayCreateRoomRequest{UserId: user})
					if err != nil || (d.Answer.GetRefusal() != nil) != (user == evil) {
						c.Errorf("%s: %v, %v", user, d, err)
					}
				}
			})
		}
		all.Wait()
		return float64(time.Since(began).Microseconds()) / asks
	}
}

// starts are of a worker until it has joined, and of what it has to load. Processor time is what counts: on a machine that is busy,
// time says how busy.
func (c *costs) starts() {
	d := testbed.Serve(c.T, unknowing(c.T)+"modules:\n  - module: gate\n    config: {deny: []}\n")
	env := d.Environment("gate")
	c.row("processor time from start to ready of `modulebus[synapse]`, against `import synapse.app.homeserver`", "%.2f s", "≤ 1.5", 7,
		func() float64 {
			command := c.programs()["synapse"]
			p := testbed.Execute(c.T, "env", append([]string{strings.Trim(command[1], `"`)}, command[2:]...)...).With(env...).Start()
			testbed.Eventually(c.T, "it has joined", func() bool { return d.Module("gate").State == "ready" })
			took := used(c.T, p.Cmd.Process.Pid)
			p.Stop()
			return took
		},
		func() float64 {
			p := testbed.Execute(c.T, testbed.Python(c.T), "-c", "import synapse.app.homeserver, os; os._exit(0)")
			if status := p.Start().Wait(); status != 0 {
				c.Fatalf("status %d", status)
			}
			return (p.Cmd.ProcessState.UserTime() + p.Cmd.ProcessState.SystemTime()).Seconds()
		})
}

// used is the processor time of a process, in seconds.
func used(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // The name of the program may have spaces.
	const user, system, perSecond = 11, 12, 100
	ticks := 0
	for _, i := range []int{user, system} {
		n, err := strconv.Atoi(strings.Fields(rest)[i])
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return float64(ticks) / perSecond
}

// bodies go through busd to a page, and through a reverse proxy to the same page in uvicorn.
func (c *costs) bodies() {
	kit := "PYTHONPATH=" + absolute(c.T, "bridges/python")
	d := testbed.Serve(c.T, fmt.Sprintf("modules:\n  - module: bodies\n    run: [env, %q, %s, %s]\n",
		kit, testbed.Python(c.T), absolute(c.T, "integration/python/testdata/bodies.py")))
	address := testbed.FreeAddress(c.T)
	host, port, _ := strings.Cut(address, ":")
	uvicorn := testbed.Execute(c.T, testbed.Python(c.T), "-m", "uvicorn", "--host", host, "--port", port, "--log-level", "error", "bodies:application")
	uvicorn.With("PYTHONPATH=" + testbed.Setting(c.T, "MODULEBUS_UVICORN") + ":" + absolute(c.T, "integration/python/testdata")).Start()
	proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address}))
	c.Cleanup(proxy.Close)
	for _, of := range []struct{ what, method string }{{"download", http.MethodGet}, {"upload", http.MethodPost}} {
		c.row("100 MiB "+of.what+" of a page, against uvicorn behind a reverse proxy", "%.0f MiB/s", "≥ 0.5", 15,
			c.moved(of.method, d.URL), c.moved(of.method, proxy.URL))
	}
}

// moved is how fast a body goes, in MiB per second.
func (c *costs) moved(method, base string) side {
	content := make([]byte, bodySize)
	for i := range content {
		content[i] = byte(rand.IntN(256))
	}
	return func() float64 {
		var took time.Duration
		testbed.Eventually(c.T, "the page is served", func() bool {
			began := time.Now()
			err := move(c.Context(), method, base+bodies, content)
			took = time.Since(began)
			return err == nil
		})
		return bodySize / (1 << 20) / took.Seconds()
	}
}

func move(ctx context.Context, method, page string, content []byte) error {
	var body io.Reader = http.NoBody
	if method == http.MethodPost {
		body = bytes.NewReader(content)
	}
	req, err := http.NewRequestWithContext(ctx, method, page, body)
	if err != nil {
		return err
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if method == http.MethodGet {
		n, err := io.Copy(io.Discard, rsp.Body)
		if err == nil && n != bodySize {
			return fmt.Errorf("%d bytes came", n)
		}
		return err
	}
	text, err := io.ReadAll(rsp.Body)
	if err == nil && string(text) != strconv.Itoa(bodySize) {
		return fmt.Errorf("the page says that it got %s", text)
	}
	return err
}
