package web_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
)

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A use is a way to have something under way at a gateway. It says when it is, and returns at its end whether that
// looked like one that was meant. An error is why it never was under way.
type use func(ctx context.Context, url string, begun func()) (whole bool, err error)

// uses are what is under way when a gateway is killed, by path.
var uses = map[string]use{"/f/stream": download, "/f/events": download, "/f/upload": upload, "/f/socket": chat}

func download(ctx context.Context, url string, begun func()) (whole bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	rsp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, err
	}
	defer rsp.Body.Close()
	if _, err := io.ReadFull(rsp.Body, make([]byte, 5)); err != nil {
		return false, err
	}
	begun()
	_, err = io.Copy(io.Discard, rsp.Body)
	return err == nil, ctx.Err()
}

func upload(ctx context.Context, url string, begun func()) (whole bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, zeros{})
	if err != nil {
		return false, err
	}
	begun()
	rsp, err := http.DefaultClient.Do(r)
	if err == nil {
		rsp.Body.Close()
	}
	return err == nil, ctx.Err()
}

func chat(ctx context.Context, url string, begun func()) (whole bool, err error) {
	socket, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = socket.CloseNow() }()
	if err := socket.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		return false, err
	}
	if _, got, err := socket.Read(ctx); err != nil || string(got) != "hello" {
		return false, fmt.Errorf("got %q: %w", got, err)
	}
	begun()
	_, _, err = socket.Read(ctx)
	return websocket.CloseStatus(err) >= 0, ctx.Err()
}

// begin has everything under way at a gateway. What it returns waits until all clients know that it is not any more.
func begin(t *testing.T, d *testbed.Daemon) (ended func()) {
	t.Helper()
	var begun, all sync.WaitGroup
	for path, use := range uses {
		begun.Add(1)
		all.Go(func() {
			said := sync.OnceFunc(begun.Done)
			defer said()
			if whole, err := use(testbed.Bounded(t), d.URL+path, said); whole || err != nil {
				t.Errorf("%s: it looks whole: %v; %v", path, whole, err)
			}
		})
	}
	begun.Wait()
	return all.Wait
}

// hold has uploads under way that the module does not read. It returns what closes their connections.
func hold(t *testing.T, d *testbed.Daemon, uploads int) (leave func()) {
	t.Helper()
	var conns []net.Conn
	var writers sync.WaitGroup
	for range uploads {
		c, err := net.Dial("tcp", strings.TrimPrefix(d.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		fmt.Fprint(c, "POST /f/hold HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
		writers.Go(func() { _, _ = io.Copy(c, zeros{}) })
	}
	return func() {
		for _, c := range conns {
			_ = c.Close()
		}
		writers.Wait()
	}
}

func TestBusdThatIsKilledEndsWhatItServedOnBothSides(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	config := "nats: {url: '" + home.URL() + "'}\nmodules: [{module: web}]\n"
	w := testbed.Worker(t, home.URL(), testbed.WebFaulty, "web")
	first, second := testbed.Serve(t, config), testbed.Serve(t, config)
	ended := begin(t, first)
	w.Stdout.Line(t, "asked /f/upload")
	const held = 150 // Enough for those together to have all credit that new uploads are given.
	defer hold(t, first, held)()
	testbed.Eventually(t, "all uploads are held", func() bool { return w.Stdout.Count("holds") == held })

	killed := time.Now()
	first.Signal(syscall.SIGKILL)
	ended()
	t.Logf("the last of the clients knew after %v", time.Since(killed))
	for path := range uses {
		w.Stdout.Line(t, "ended: ", "gateway lost", path)
	}
	w.Stdout.Line(t, "read: unexpected EOF")
	testbed.Eventually(t, "no upload is held", func() bool { return w.Stdout.Count("ended: ", "/f/hold") == held })
	t.Logf("the last of the handlers knew after %v", time.Since(killed))

	// The other one takes over, and is given what the first one had.
	defer hold(t, second, 1)()
	testbed.Eventually(t, "an upload is given much at once", func() bool { return sent(second) > 128<<10 })
	if rsp, out := second.Request("POST", "/f/", bytes.Repeat([]byte("x"), 1<<20)); rsp.StatusCode != http.StatusOK {
		t.Errorf("the other busd: %s %s", rsp.Status, out)
	}
}

// sent is how many bytes of frames the gateway has sent to workers.
func sent(d *testbed.Daemon) (n float64) {
	d.Helper()
	_, out := d.Request("GET", "/metrics", nil)
	const metric = `modulebus_web_stream_bytes_total{direction="out"} %g`
	for line := range strings.Lines(string(out)) {
		if _, err := fmt.Sscanf(line, metric, &n); err == nil {
			return n
		}
	}
	return 0
}
