package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
)

// The law of loss: whatever happens to frames, nobody takes for whole what is not.
func TestTruncatedResponseNeverPassesAsComplete(t *testing.T) {
	t.Parallel()
	response, body := tunneltest.Pattern(300_000), tunneltest.Pattern(270_000)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err == nil && !bytes.Equal(got, body) {
			t.Error("the handler took a body for whole that is not")
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(response)
	})
	rapid.Check(t, func(rt *rapid.T) {
		f := &fault{
			at:   rapid.IntRange(0, 40).Draw(rt, "frame"),
			what: rapid.SampledFrom([]string{"drop", "double", "delay"}).Draw(rt, "fault"),
		}
		n := tunneltest.Connect(t, gateway.Options{AcceptTimeout: 50 * time.Millisecond, ResponseTimeout: time.Second}, h)
		n.Meddle, n.Nearby = f.meddle, rapid.Bool().Draw(rt, "nearby")
		stop := n.Hasten()
		defer stop()
		s := httptest.NewServer(n.Gateway)
		defer s.Close()
		rsp, err := s.Client().Post(s.URL, "", bytes.NewReader(body))
		if err != nil {
			return // Visibly no success.
		}
		defer rsp.Body.Close()
		got, err := io.ReadAll(rsp.Body)
		if err == nil && rsp.StatusCode == http.StatusOK && !bytes.Equal(got, response) {
			rt.Errorf("200 with %d bytes of %d", len(got), len(response))
		}
	})
}

// fault does something to one frame.
type fault struct {
	mu   sync.Mutex
	at   int
	what string
	held func()
}

func (f *fault) meddle(frame frame.Frame, deliver func()) {
	f.mu.Lock()
	held := f.held
	f.held = nil
	hit := f.at == 0
	f.at--
	if hit && f.what == "delay" {
		f.held = deliver
	}
	f.mu.Unlock()
	switch {
	case !hit:
		deliver()
	case f.what == "double":
		deliver()
		deliver()
	}
	if held != nil {
		held()
	}
}

// stalled is a client that takes nothing before it may.
type stalled struct {
	*httptest.ResponseRecorder
	may  chan struct{}
	took int
}

func (s *stalled) Write(p []byte) (int, error) {
	<-s.may
	s.took += len(p)
	return len(p), nil
}

func (*stalled) Flush() {}

func TestStalledClientsHoldLittle(t *testing.T) {
	t.Parallel()
	const clients, size = 1000, 1 << 20
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, zeros{}, size) })
	n := tunneltest.Connect(t, gateway.Options{StallTimeout: -1, AcceptTimeout: -1}, h) // A loaded machine is slow to begin a thousand.
	may, all := make(chan struct{}), make([]*stalled, clients)
	var done sync.WaitGroup
	for i := range all {
		all[i] = &stalled{httptest.NewRecorder(), may, 0}
		done.Go(func() { n.Gateway.ServeHTTP(all[i], httptest.NewRequest("GET", "/", nil)) })
	}
	const bound = 32 << 20
	n.Until(t, "all have sent what they may", func() bool { return n.Gateway.Stats().Open.Load() == clients && n.Exhausted() })
	if streams, lent := n.Gateway.Lent(); streams != clients || lent > bound {
		t.Errorf("%d streams, %d bytes", streams, lent)
	}
	if in := n.Gateway.Stats().BytesIn.Load(); in > bound+clients*1000 {
		t.Errorf("%d bytes came in", in)
	}
	close(may)
	done.Wait()
	for _, c := range all {
		if c.took != size {
			t.Fatalf("a client got %d bytes", c.took)
		}
	}
	if streams, lent := n.Gateway.Lent(); streams != 0 || lent != 0 {
		t.Errorf("left: %d streams, %d bytes", streams, lent)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestClientThatLeavesEndsTheHandler(t *testing.T) {
	t.Parallel()
	started, ended := make(chan struct{}), make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		close(started)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	})
	told := make(chan *gateway.Report, 1)
	n := tunneltest.Connect(t, gateway.Options{Done: func(r *gateway.Report) { told <- r }}, h)
	s := tunneltest.Serve(t, n.Gateway)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	rsp, err := tunneltest.Client(s).Do(tunneltest.Request("GET", "/", nil)(s.URL).WithContext(ctx))
	if err == nil {
		_, err = io.ReadAll(rsp.Body)
		rsp.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler's context: %v", err)
	}
	if r := <-told; r.Outcome != gateway.ClientGone {
		t.Errorf("told %+v", r)
	}
}

// Before it is known who has the request, nobody can be told; so who says that he has it is told then.
func TestClientThatLeavesEarlyEndsTheHandler(t *testing.T) {
	t.Parallel()
	started, ended := make(chan struct{}), make(chan error, 1)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	})
	n := tunneltest.Connect(t, gateway.Options{}, h)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	func() {
		defer func() { _ = recover() }()
		n.Gateway.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	}()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler's context: %v", err)
	}
}

func TestBodyThatBreaksOffIsNotWhole(t *testing.T) {
	t.Parallel()
	broken := make(chan error, 1)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		broken <- err
	})
	n := tunneltest.Connect(t, gateway.Options{}, h)
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader("half"), failingReader{}))
	r.ContentLength = -1
	w := httptest.NewRecorder()
	n.Gateway.ServeHTTP(w, r)
	if err := <-broken; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the handler read %v", err)
	}
	if w.Code != http.StatusBadRequest {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("gone") }

// begun answers with some bytes, and goes on when it may.
func begun(may <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		select {
		case <-may:
		case <-r.Context().Done():
		}
	}
}

func TestWorkerThatIsLostBreaksItsResponses(t *testing.T) {
	t.Parallel()
	tests := map[string]func(n *tunneltest.Network){
		"killed":       func(n *tunneltest.Network) { n.Workers[0].Gone = true; n.Gateway.Beat(time.Now()) },
		"stopped":      func(n *tunneltest.Network) { n.Workers[0].Mute = true; n.Gateway.Beat(time.Now().Add(time.Minute)) },
		"NATS lost":    func(n *tunneltest.Network) { n.Gateway.Lost() },
		"going away":   func(n *tunneltest.Network) { n.Workers[0].GoAway() },
		"unheard":      func(n *tunneltest.Network) { n.Workers[0].Lost() },
		"gateway mute": func(n *tunneltest.Network) { n.Workers[0].Beat(time.Now().Add(time.Minute)) },
	}
	for name, lose := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := tunneltest.Connect(t, gateway.Options{}, begun(nil))
			s := tunneltest.Serve(t, n.Gateway)
			rsp, err := tunneltest.Client(s).Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer rsp.Body.Close()
			if _, err := io.ReadFull(rsp.Body, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			lose(n)
			if _, err := io.ReadAll(rsp.Body); err == nil && name != "gateway mute" && name != "unheard" {
				t.Error("the response looks whole")
			}
		})
	}
}

func TestHandlerThatGivesUpBreaksItsResponse(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := r.Context().Value(http.ServerContextKey).(*http.Server); !ok {
			t.Error("httputil.ReverseProxy would not panic here")
		}
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	s := tunneltest.Serve(t, tunneltest.Tunnelled(t, h))
	rsp, err := tunneltest.Client(s).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if got, err := io.ReadAll(rsp.Body); err == nil || string(got) != "half" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestResetThatOvertakesTheHead has data and a reset arrive before the head, as they may on a connection of their own.
func TestResetThatOvertakesTheHead(t *testing.T) {
	t.Parallel()
	n := tunneltest.Connect(t, gateway.Options{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	head := func() {}
	n.Meddle = func(f frame.Frame, deliver func()) {
		switch f.(type) {
		case *frame.Response:
			head = deliver
		case *frame.Reset:
			deliver()
			head()
		default:
			deliver()
		}
	}
	s := tunneltest.Serve(t, n.Gateway)
	rsp, err := tunneltest.Client(s).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if got, err := io.ReadAll(rsp.Body); rsp.StatusCode != http.StatusOK || err == nil || string(got) != "half" {
		t.Errorf("got %s, %q, %v", rsp.Status, got, err)
	}
}

func TestGatewayAsksAnotherWorker(t *testing.T) {
	t.Parallel()
	opts := gateway.Options{AcceptTimeout: 300 * time.Millisecond}
	tests := map[string]struct {
		ask  func(string) *http.Request
		lose func(w *tunneltest.Worker)
		want int
	}{
		"a GET":                 {tunneltest.Request("GET", "/", nil), func(w *tunneltest.Worker) { w.Mute = true }, 200},
		"a PUT":                 {tunneltest.Request("PUT", "/", strings.NewReader("x")), func(w *tunneltest.Worker) { w.Mute = true }, 200},
		"a POST":                {tunneltest.Request("POST", "/", strings.NewReader("x")), func(w *tunneltest.Worker) { w.Mute = true }, 504},
		"a POST with a key":     {keyed, func(w *tunneltest.Worker) { w.Mute = true }, 200},
		"a POST that is absent": {tunneltest.Request("POST", "/", strings.NewReader("x")), func(w *tunneltest.Worker) { w.Gone = true }, 200},
		"a large PUT":           {tunneltest.Request("PUT", "/", strings.NewReader(strings.Repeat("x", 100_000))), func(w *tunneltest.Worker) { w.Mute = true }, 504},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			n := tunneltest.Connect(t, opts, h, h)
			tt.lose(n.Workers[0])
			if got := tunneltest.Receive(t, tunneltest.Serve(t, n.Gateway), tt.ask); got.Status != tt.want {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
		})
	}
}

func keyed(base string) *http.Request {
	r := tunneltest.Request("POST", "/", strings.NewReader("x"))(base)
	r.Header.Set("Idempotency-Key", "1")
	return r
}

func TestResponseMayComeDuringTheUpload(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 10))
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "enough")
	})
	s := tunneltest.Serve(t, tunneltest.Tunnelled(t, h))
	body, more := io.Pipe()
	go func() { _, _ = more.Write(make([]byte, 100)) }() // It never ends.
	defer more.Close()
	rsp, err := tunneltest.Client(s).Post(s.URL, "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if got, err := io.ReadAll(rsp.Body); err != nil || string(got) != "enough" || rsp.StatusCode != 403 {
		t.Errorf("got %d %q, %v", rsp.StatusCode, got, err)
	}
}

func TestResponseMayStreamDuringTheUpload(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	})
	s := tunneltest.Serve(t, tunneltest.Tunnelled(t, h))
	body, more := io.Pipe()
	go func() { _, _ = io.WriteString(more, "ping") }()
	rsp, err := tunneltest.Client(s).Post(s.URL, "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	for range 3 {
		if got := make([]byte, 4); tunneltest.ReadFull(rsp.Body, got) != nil || string(got) != "ping" {
			t.Fatalf("got %q", got)
		}
		_, _ = io.WriteString(more, "ping")
	}
	more.Close()
	if got, err := io.ReadAll(rsp.Body); err != nil || string(got) != "ping" {
		t.Errorf("got %q, %v", got, err)
	}
}

// As with net/http's own bodies, that is no use, but no harm.
func TestBodyMayBeReadByTwo(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var read atomic.Int64
		var readers sync.WaitGroup
		for range 2 {
			readers.Go(func() {
				n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r.Body}, make([]byte, 1000))
				read.Add(n)
			})
		}
		readers.Wait()
		_, _ = io.WriteString(w, strconv.FormatInt(read.Load(), 10))
	})
	ask := tunneltest.Request("POST", "/", bytes.NewReader(make([]byte, size)))
	if got := tunneltest.Receive(t, tunneltest.Serve(t, tunneltest.Tunnelled(t, h)), ask); got.Body != strconv.Itoa(size) {
		t.Errorf("read %s bytes", got.Body)
	}
}
