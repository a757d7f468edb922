package web_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// pages is a busd with a module whose worker is a process, too.
func pages(t *testing.T, more string) (d *testbed.Daemon, worker *testbed.Process) {
	t.Helper()
	d = testbed.Serve(t, "modules: [{module: web}]\n"+more)
	worker = d.Worker(testbed.WebFaulty, "web")
	testbed.Eventually(t, "the module's pages are there", func() bool { return d.Module("web").State == "ready" })
	return d, worker
}

// frugal are connections of clients for which neither this machine nor the other end keeps much in its own buffers.
var frugal = net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1000)
	})
}}

// stall begins to read a response without end, and goes no further.
func stall(t *testing.T, d *testbed.Daemon) net.Conn {
	t.Helper()
	c, err := frugal.DialContext(testbed.Bounded(t), "tcp", strings.TrimPrefix(d.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	fmt.Fprint(c, "GET /f/stream HTTP/1.1\r\nHost: x\r\n\r\n")
	head := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(c, head); err != nil || string(head) != "HTTP/1.1 200" {
		rest, _ := io.ReadAll(io.LimitReader(c, 1000))
		t.Fatalf("a stream began with %q %v, then %q", head, err, rest)
	}
	return c
}

// resident is how many bytes of memory a process has. Only Linux tells: elsewhere it is 0, and credit has to do.
func resident(t *testing.T, p *testbed.Process) (kilobytes int) {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.Cmd.Process.Pid) + "/status")
	if runtime.GOOS != "linux" {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	t.Fatalf("no VmRSS in %s", status)
	return 0
}

func TestStalledClientsHoldLittleOfBusdAndWorker(t *testing.T) {
	t.Parallel()
	clients, most := 1000, 400<<20
	if testbed.RaceDetector { // It remembers what was done to each byte, and a thousand would leave no time to the tests beside.
		clients, most = 100, 4*most
	}
	d, w := pages(t, "")
	before, beforeWorker := resident(t, d.Process), resident(t, w)
	var stalled []net.Conn
	for range clients {
		stalled = append(stalled, stall(t, d))
	}
	if n := d.Measured("modulebus_web_streams"); n != float64(clients) {
		t.Errorf("%v streams are under way, want %d", n, clients)
	}
	lent := d.Measured("modulebus_web_credit_bytes")
	t.Logf("with %d stalled clients: %v bytes of credit; busd has %d MiB (%d without), the worker %d MiB (%d without)",
		clients, lent, resident(t, d.Process)>>20, before>>20, resident(t, w)>>20, beforeWorker>>20)
	if lent > 32<<20 {
		t.Errorf("%v bytes are lent", lent)
	}
	for what, p := range map[string]*testbed.Process{"busd": d.Process, "the worker": w} {
		if got := resident(t, p); got > most {
			t.Errorf("%s has %d MiB, want less than %d", what, got>>20, most>>20)
		}
	}
	if rsp, out := d.Request("GET", "/f/page?bytes=1000000", nil); rsp.StatusCode != http.StatusOK || len(out) != 1_000_000 {
		t.Errorf("another client: %s, %d bytes", rsp.Status, len(out))
	}
	for _, c := range stalled {
		_ = c.Close()
	}
	testbed.Eventually(t, "nothing is under way", func() bool { return d.Measured("modulebus_web_streams") == 0 })
	testbed.Eventually(t, "all handlers know", func() bool { return w.Stdout.Count("ended: ", "/f/stream") == clients })
	if n := d.Measured("modulebus_web_slow_consumer_total"); n != 0 {
		t.Errorf("%v messages were dropped", n)
	}
}

func TestPageThatPanicsBreaksOff(t *testing.T) {
	t.Parallel()
	d, w := pages(t, "")
	rsp, out := d.Request("GET", "/f/panic", nil)
	if rsp.StatusCode != http.StatusBadGateway || rsp.Header.Get("Modulebus-Error") != "tunnel" || strings.Contains(string(out), "told to") {
		t.Errorf("before the head: %s %s", rsp.Status, out)
	}
	rsp, out, err := d.Try("GET", "/f/panic/head", nil)
	if err == nil || rsp != nil && rsp.StatusCode != http.StatusOK {
		t.Errorf("after the head: %v, %s looks whole", rsp, out)
	}
	testbed.Eventually(t, "the module's log tells of two panics", func() bool { return w.Stderr.Count("web resource panicked", `"panic":"string"`) == 2 })
	if w.Stderr.Count("told to") > 0 {
		t.Error("the module's log has what the page panicked with")
	}
	if rsp, out := d.Request("GET", "/f/", nil); rsp.StatusCode != http.StatusOK {
		t.Errorf("the worker did not survive: %s %s", rsp.Status, out)
	}
}

func TestRequestFieldsAreNotHeadersOfNATS(t *testing.T) {
	t.Parallel()
	d, _ := pages(t, "")
	spy := d.Connect()
	heard, err := spy.SubscribeSync("spy.>")
	if err != nil || spy.Flush() != nil {
		t.Fatal(err)
	}
	fields := map[string]string{"Nats-Trace-Dest": "spy.trace", "Nats-Trace-Only": "true", "Status": "503"}
	for _, path := range []string{"/f/reflect", "/f/reflect?say=a%0D%0AInjected:%20b%0D%0A%0D%0Ac", "/f/reflect/%0D%0AReply-To:%20spy.reply/*/spy.%3E"} {
		rsp, out := d.Request("GET", path, nil, "Nats-Trace-Dest", "spy.trace", "Nats-Trace-Only", "true", "Status", "503", "Authorization", "Bearer secret")
		if rsp.StatusCode != http.StatusOK || len(out) != 0 || rsp.Header.Get("Injected") != "" {
			t.Errorf("%s: %s %v %s", path, rsp.Status, rsp.Header, out)
		}
		for name, want := range fields {
			if got := rsp.Header.Get(name); got != want {
				t.Errorf("%s: %s came back as %q, want %q", path, name, got, want)
			}
		}
	}
	if n, _, err := heard.Pending(); err != nil || spy.Flush() != nil || n != 0 {
		t.Errorf("NATS passed %d messages to somebody else, %v", n, err)
	}
}

func TestPageThatCannotBeServedHasAStatusOfItsOwn(t *testing.T) {
	t.Parallel()
	d, w := pages(t, "")
	want := func(what string, status int, rsp *http.Response, out []byte) {
		t.Helper()
		retry := rsp.Header.Get("Retry-After") != ""
		if rsp.StatusCode != status || rsp.Header.Get("Modulebus-Error") != "tunnel" || retry != (status == 503) {
			t.Errorf("%s: %s %v %s; want %d", what, rsp.Status, rsp.Header, out, status)
		}
	}
	testbed.Eventually(t, "the worker serves", func() bool { rsp, _ := d.Request("POST", "/f/", nil); return rsp.StatusCode == 200 })
	rsp, out := d.Request("GET", "/f/", nil, "X", strings.Repeat("x", 100<<10))
	want("a header over the limit", 431, rsp, out)
	w.Signal(syscall.SIGSTOP)
	rsp, out = d.Request("POST", "/f/", []byte("x"))
	want("a worker that is stopped", 504, rsp, out)

	// The second request is in the socket of a process that will never read it: whatever is said of it, it is said.
	answered := make(chan int, 1)
	go func() {
		rsp, _, err := d.Try("POST", "/f/", []byte("x"))
		if err != nil {
			answered <- 0
			return
		}
		answered <- rsp.StatusCode
	}()
	testbed.Eventually(t, "it is under way", func() bool { return d.Measured("modulebus_web_streams") > 0 })
	w.Signal(syscall.SIGKILL)
	if got := <-answered; got != 502 && got != 504 {
		t.Errorf("a worker that is killed before it has begun: %d", got)
	}
	testbed.Eventually(t, "the worker is forgotten", func() bool { rsp, _ := d.Request("POST", "/f/", nil); return rsp.StatusCode == 503 })
	d.Worker(testbed.WebFaulty, "web")
	testbed.Eventually(t, "another one serves", func() bool { rsp, _ := d.Request("POST", "/f/", nil); return rsp.StatusCode == 200 })
}
