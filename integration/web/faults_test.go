package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/integration/testbed"
)

// faulty is a worker of webfaulty, as a process.
type faulty struct {
	*exec.Cmd
	said chan string
}

// start starts a worker, and waits until its path is served.
func (s *site) start(t *testing.T) *faulty {
	t.Helper()
	return s.startAt(t, s.url, os.TempDir())
}

// startAt is start with another way to NATS, and where a gateway is looked for. In a folder of its own it finds none, as on
// a machine of its own.
func (s *site) startAt(t *testing.T, url, temp string) *faulty {
	t.Helper()
	f := &faulty{exec.Command(testbed.Program(t, testbed.WebFaulty)), make(chan string, 1000)}
	f.Env = append(os.Environ(), "MODULEBUS_NATS_URL="+url, "MODULEBUS_SERVER_NAME="+serverName, "MODULEBUS_MODULE=faulty", "TMPDIR="+temp)
	out, err := f.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			f.said <- lines.Text()
		}
	}()
	t.Cleanup(func() { f.kill(t); <-ended; _ = f.Wait() })
	s.await(t, "faulty", "/f")
	return f
}

func (f *faulty) kill(t *testing.T) { t.Helper(); f.signal(t, syscall.SIGKILL) }

func (f *faulty) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := f.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// hears waits for a line that begins so.
func (f *faulty) hears(t *testing.T, what string) string {
	t.Helper()
	late := time.After(time.Minute)
	var instead []string
	for {
		select {
		case line := <-f.said:
			if strings.HasPrefix(line, what) {
				return line
			}
			instead = append(instead, line)
		case <-late:
			t.Fatalf("the worker never said %q, but %q", what, instead)
		}
	}
}

// ask sends a request for a path, with a body if there is one.
func (s *site) ask(t *testing.T, method, path, body string) (*http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, s.front.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := s.front.Client().Do(r)
	if err == nil {
		t.Cleanup(func() { rsp.Body.Close() })
	}
	return rsp, err
}

func (s *site) status(t *testing.T, method, path string) int {
	t.Helper()
	rsp, err := s.ask(t, method, path, "")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, rsp.Body)
	return rsp.StatusCode
}

func TestWebWorkerKilledInTheBody(t *testing.T) {
	t.Parallel()
	for path, temp := range map[string]string{"/f/head": os.TempDir(), "/f/stream": os.TempDir(), "/f/stream?": t.TempDir(), "/f/stream?declared": os.TempDir()} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, bus.Options{}, "faulty")
			f := s.startAt(t, s.url, temp)
			rsp, err := s.ask(t, "GET", path, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(rsp.Body, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			f.kill(t)
			killed := time.Now()
			if _, err := io.Copy(io.Discard, rsp.Body); err == nil {
				t.Error("the response looks whole")
			}
			t.Logf("the client knew after %v", time.Since(killed))
		})
	}
}

func TestWebWorkerKilledBeforeItAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, bus.Options{}, "faulty")
	f := s.start(t)
	go func() { f.hears(t, "asked"); f.kill(t) }()
	if got := s.status(t, "GET", "/f/wait"); got < 502 || got > 504 {
		t.Errorf("got %d", got)
	}
}

// A stopped worker still has its share of the requests. Those that may be are given to another one.
func TestWebWorkerStopped(t *testing.T) {
	t.Parallel()
	s := newSite(t, bus.Options{Web: bus.WebOptions{AcceptTimeout: 200 * time.Millisecond}}, "faulty")
	f := s.start(t)
	rsp, err := s.ask(t, "GET", "/f/head", "")
	if err != nil {
		t.Fatal(err)
	}
	f.signal(t, syscall.SIGSTOP)
	stopped := time.Now()
	s.start(t)
	for range 10 {
		if got := s.status(t, "GET", "/f/"); got != 200 && got != 504 { // Twice in a row to the stopped one is possible.
			t.Errorf("got %d", got)
		}
	}
	if _, err := io.Copy(io.Discard, rsp.Body); err == nil {
		t.Error("the response looks whole")
	}
	t.Logf("the client knew after %v", time.Since(stopped))
}

func TestWebGatewayLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, bus.Options{}, "faulty")
	f := s.start(t)
	if _, err := s.ask(t, "GET", "/f/stream", ""); err != nil {
		t.Fatal(err)
	}
	f.hears(t, "asked")
	s.client.Close() // As good as dead: it says nothing any more.
	t.Log(f.hears(t, "ended: "))
}

func TestWebClientThatLeaves(t *testing.T) {
	t.Parallel()
	s := newSite(t, bus.Options{}, "faulty")
	f := s.start(t)
	for _, path := range []string{"/f/wait", "/f/head", "/f/stream", "/f/stream?declared"} {
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", s.front.URL+path, nil)
		left := make(chan time.Time, 1)
		go func() { f.hears(t, "asked"); left <- time.Now(); cancel() }()
		if rsp, err := s.front.Client().Do(r); err == nil {
			_, _ = io.Copy(io.Discard, rsp.Body)
			rsp.Body.Close()
		}
		f.hears(t, "ended: ")
		t.Logf("%s: the handler's context ended %v after the client left", path, time.Since(<-left))
	}
}

// upload sends a body without end. It returns the status of the answer, or 0 for a broken connection.
func (s *site) upload(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", s.front.URL+"/f/upload", endless{})
	if err != nil {
		return -1
	}
	rsp, err := s.front.Client().Do(r)
	switch {
	case err == nil:
		rsp.Body.Close()
		return rsp.StatusCode
	case ctx.Err() != nil:
		return -1
	}
	return 0
}

// endless has no end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestWebNATSRestarted(t *testing.T) {
	t.Parallel()
	s := newSite(t, bus.Options{}, "faulty")
	f := s.start(t)
	rsp, err := s.ask(t, "GET", "/f/stream", "")
	if err != nil {
		t.Fatal(err)
	}
	f.hears(t, "asked /f/stream")
	uploaded := make(chan int, 1)
	go func() { uploaded <- s.upload(t.Context()) }()
	f.hears(t, "asked /f/upload")
	addr := s.nats.Addr().(*net.TCPAddr)
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	if _, err := io.Copy(io.Discard, rsp.Body); err == nil {
		t.Error("the response looks whole")
	}
	if got := <-uploaded; got != 0 && got != 502 {
		t.Errorf("the upload: got %d", got)
	}
	if how := f.hears(t, "read: "); how == "read: <nil>" { // Where it was in the upload decides which error it is.
		t.Error("the body looks whole")
	}
	// It is back, and takes smaller messages than before.
	startNATS(t, &server.Options{Port: addr.Port, MaxPayload: 20_000})
	body := strings.Repeat("x", 300_000)
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { //nolint:forbidigo // it is polled
		rsp, err := s.ask(t, "POST", "/f/", body)
		if err == nil && rsp.StatusCode == 200 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not well again: %v, %v", rsp, err)
		}
	}
}

func TestWebBodiesOverTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	s := newSite(t, bus.Options{Web: bus.WebOptions{BodyLimit: limit}}, "faulty")
	s.start(t)
	for size, want := range map[int]int{limit: 200, limit + 1: 413, 10 * limit: 413} {
		body := strings.Repeat("x", size)
		for name, reader := range map[string]io.Reader{
			"told": strings.NewReader(body), "not told": struct{ io.Reader }{strings.NewReader(body)},
		} {
			rsp, err := s.front.Client().Post(s.front.URL+"/f/", "text/plain", reader)
			if err != nil && size > 2*limit {
				continue // The connection was closed while the client still wrote. That is no 200.
			}
			if err != nil {
				t.Fatalf("%d bytes, %s: %v", size, name, err)
			}
			_, _ = io.Copy(io.Discard, rsp.Body)
			rsp.Body.Close()
			if rsp.StatusCode != want {
				t.Errorf("%d bytes, %s: got %d, want %d", size, name, rsp.StatusCode, want)
			}
		}
	}
}

func TestWebStalledClients(t *testing.T) {
	t.Parallel()
	const clients = 200
	metrics := prometheus.NewRegistry()
	s := newSite(t, bus.Options{Registerer: metrics}, "web")
	body := make([]byte, 4<<20)
	s.run(t, "web", "/w", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	var conns []net.Conn
	for range clients {
		c, err := net.Dial("tcp", s.front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /w HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	if lent := gathered(t, metrics, "modulebus_web_credit_bytes"); lent > 32<<20 {
		t.Errorf("%v bytes are lent", lent)
	}
	for _, c := range conns {
		n, err := io.Copy(io.Discard, c)
		if err != nil || n < int64(len(body)) {
			t.Fatalf("got %d bytes, %v", n, err)
		}
	}
	if dropped := gathered(t, metrics, "modulebus_web_slow_consumer_total"); dropped != 0 {
		t.Errorf("%v messages were dropped", dropped)
	}
}

// gathered is the sum of all samples of a metric.
func gathered(t *testing.T, r prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}

// Workers come and go, one at a time, and no request is lost.
func TestWebRollingRestart(t *testing.T) {
	t.Parallel()
	s := newSite(t, bus.Options{}, "web")
	served := make(chan int)
	worker := func(i int) (stop func()) {
		return s.run(t, "web", "/w", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case served <- i:
			default:
			}
			_, _ = io.Copy(w, r.Body)
		}))
	}
	stop := worker(0)
	done, asked := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for ; !closed(done); n++ {
			if rsp, err := s.ask(t, "POST", "/w", "x"); err != nil || rsp.StatusCode != 200 {
				t.Errorf("request %d: %v, %v", n, rsp, err)
			}
		}
		asked <- n
	}()
	for i := 1; i < 5; i++ {
		next := worker(i)
		for <-served != i {
			// Until the new one has its share.
		}
		stop()
		stop = next
	}
	close(done)
	t.Logf("%d requests", <-asked)
	stop()
	rsp, err := s.ask(t, "POST", "/w", "x")
	if err != nil {
		t.Fatal(err)
	}
	if seconds, _ := strconv.Atoi(rsp.Header.Get("Retry-After")); rsp.StatusCode != 503 || seconds == 0 {
		t.Errorf("with nobody there: %v", rsp)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
