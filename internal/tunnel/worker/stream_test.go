package worker_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
	"github.com/modulebus/modulebus/internal/tunnel/worker"
	"github.com/modulebus/modulebus/internal/waittest"
)

// sent is a frame that a worker sent, and the name of the stream that it is about.
type sent struct {
	frame.Frame
	token string
	to    flow.Address
}

// outgoing has what a worker sends.
type outgoing chan sent

// Send implements [flow.Transport].
func (l outgoing) Send(_ flow.Channel, to flow.Address, token string, raw []byte) error {
	f, err := frame.Decode(append([]byte(nil), raw...))
	l <- sent{f, token, to}
	return err
}

// MaxFrame implements [flow.Transport].
func (outgoing) MaxFrame() int { return tunneltest.FrameLimit }

// Near implements [flow.Transport].
func (outgoing) Near(flow.Address, func([]byte), func()) flow.Line { return nil }

var from = flow.Address{Process: "gateway", Token: "t"}

// slow is a worker whose handler waits for the end of its context, and a gateway that knows its stream.
type slow struct {
	*worker.Worker
	line  outgoing
	token string
	cause chan error    // of the context's end
	ended chan struct{} // closed when Serve has returned
}

// serveSlowly serves a request whose body is to come.
func serveSlowly(t *testing.T) *slow {
	t.Helper()
	s := &slow{line: make(outgoing, 16), cause: make(chan error, 1), ended: make(chan struct{})}
	s.Worker = worker.New(s.line, worker.Options{AcceptAfter: time.Millisecond})
	handler := func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		s.cause <- context.Cause(r.Context())
	}
	req := tunneltest.Encode(&frame.Request{Method: "POST", Target: "/", More: true, ContentLength: -1, Credit: 1000})
	go func() {
		defer close(s.ended)
		s.Serve(t.Context(), http.HandlerFunc(handler), from, req)
	}()
	accept := <-s.line
	if _, ok := accept.Frame.(*frame.Accept); !ok || accept.to != from || accept.token == "" {
		t.Fatalf("a handler that takes its time is told of with %T, to %v", accept.Frame, accept.to)
	}
	s.token = accept.token
	return s
}

// ends fails the test unless the handler's context ends with a cause that has the text, and the stream with it.
func (s *slow) ends(t *testing.T, text string) {
	t.Helper()
	if cause := <-s.cause; !errors.Is(cause, context.Canceled) || !strings.Contains(cause.Error(), text) {
		t.Errorf("the context ended with %v, want %q", cause, text)
	}
	<-s.ended
	if n := s.Open(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
}

func TestWorkerAnswersHeartbeatsByStream(t *testing.T) {
	t.Parallel()
	s := serveSlowly(t)
	ping := frame.Ping{Answer: true, States: []frame.State{{Token: s.token}, {Token: "gone"}}}
	s.Receive(flow.Control, flow.ControlToken, from, tunneltest.Encode(&ping))
	pong, ok := (<-s.line).Frame.(*frame.Pong)
	if !ok || len(pong.States) != 2 || pong.States[0] != (frame.State{Token: s.token}) || pong.States[1] != (frame.State{Token: "gone", Gone: true}) {
		t.Errorf("got %+v", pong)
	}
	ping.Answer = false
	s.Receive(flow.Control, flow.ControlToken, from, tunneltest.Encode(&ping))
	s.Unheard(s.token, "")
	s.ends(t, "gateway lost")
	if n := len(s.line); n > 1 { // What is told of the response that is not whole.
		t.Errorf("a heartbeat that wants no answer gets one: %d frames", n)
	}
}

func TestWorkerEndsStreamsOfAGatewayThatIsSilent(t *testing.T) {
	t.Parallel()
	s := serveSlowly(t)
	s.Beat(time.Now())
	select {
	case cause := <-s.cause:
		t.Fatalf("it ends at once: %v", cause)
	default:
	}
	s.Beat(time.Now().Add(time.Minute))
	s.ends(t, "gateway lost")
}

func TestWorkerEndsStreamsWhenFramesMayBeLost(t *testing.T) {
	t.Parallel()
	s := serveSlowly(t)
	s.Lost()
	s.ends(t, "gateway lost")
}

func TestWorkerThatGoesAwayTellsTheGateway(t *testing.T) {
	t.Parallel()
	s := serveSlowly(t)
	s.GoAway()
	s.ends(t, "the module stops")
	if r, ok := (<-s.line).Frame.(*frame.Reset); !ok || r.Code != frame.CodeGoingAway || r.Status != http.StatusServiceUnavailable {
		t.Errorf("the gateway is told %+v", r)
	}
}

func TestWorkerEndsAStreamThatTheGatewayResets(t *testing.T) {
	t.Parallel()
	for code, want := range map[frame.Code]string{
		frame.CodeCancelled: "nobody waits", frame.CodeLeft: "nobody waits", frame.CodeBody: "nobody waits", frame.CodeLost: "gateway lost",
	} {
		s := serveSlowly(t)
		s.Receive(flow.Control, s.token, from, tunneltest.Encode(frame.NewReset(code, "")))
		s.ends(t, want)
	}
}

func TestWorkerResetsAStreamWhoseFramesDoNotFit(t *testing.T) {
	t.Parallel()
	for what, raw := range map[string][]byte{
		"a hole":    tunneltest.Encode(&frame.Data{Offset: 7, Bytes: []byte("x")}),
		"too early": tunneltest.Encode(&frame.End{Offset: 7}),
		"garbage":   []byte("garbage"),
	} {
		s := serveSlowly(t)
		s.Receive(flow.Bulk, s.token, from, raw)
		if s.ends(t, "gateway lost"); t.Failed() {
			t.Fatal(what)
		}
	}
}

func TestWorkerRefusesABodyThatNobodyReads(t *testing.T) {
	t.Parallel()
	l := make(outgoing, 4)
	w := worker.New(l, worker.Options{})
	w.Receive(flow.Bulk, "unknown", from, tunneltest.Encode(&frame.Data{Bytes: []byte("x")}))
	w.Receive(flow.Bulk, "unknown", from, tunneltest.Encode(&frame.End{}))
	got := <-l
	if r, ok := got.Frame.(*frame.Reset); !ok || r.Code != frame.CodeCancelled || got.to != from || len(l) != 0 {
		t.Errorf("got %+v to %v, and %d more", got.Frame, got.to, len(l))
	}
	w.Refuse(from, worker.Busy(3))
	if r, ok := (<-l).Frame.(*frame.Reset); !ok || !r.Retryable || r.Status != http.StatusServiceUnavailable || !strings.Contains(r.Text, "3 requests") {
		t.Errorf("got %+v", r)
	}
}

func TestWriterSendsWhatLiesAroundByItself(t *testing.T) {
	t.Parallel()
	l, release := make(outgoing, 16), make(chan struct{})
	w := worker.New(l, worker.Options{AcceptAfter: time.Millisecond})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Serve(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "first")
			<-release
			_, _ = io.WriteString(w, "last")
		}), from, tunneltest.Encode(&frame.Request{Method: "GET", Target: "/", Credit: 1000}))
	}()
	body := ""
	for got := range l {
		switch f := got.Frame.(type) {
		case *frame.Data:
			body += string(f.Bytes)
			if body == "first" {
				close(release)
			}
			if f.Last {
				close(l)
			}
		case *frame.Reset, *frame.End:
			t.Fatalf("got %+v after %q", f, body)
		}
	}
	<-ended
	if body != "firstlast" {
		t.Errorf("got %q", body)
	}
}

func TestBodyIsCopiedAsItCame(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	want := string(tunneltest.Pattern(size))
	n := tunneltest.Connect(t, gateway.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var first strings.Builder
		if _, err := io.Copy(&upTo{&first, size / 2}, r.Body); !errors.Is(err, io.ErrShortWrite) { // [io.WriterTo]
			t.Errorf("a writer that takes no more: %v", err)
		}
		rest := &strings.Builder{}
		if _, err := io.Copy(rest, r.Body); err != nil {
			t.Error(err)
		}
		_ = r.Body.Close()
		if _, err := io.Copy(io.Discard, r.Body); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("a closed body: %v", err)
		}
		_, _ = io.WriteString(w, first.String()+rest.String())
	}))
	got := tunneltest.Receive(t, tunneltest.Serve(t, n.Gateway), tunneltest.Request("POST", "/", strings.NewReader(want)))
	if got.Body != want {
		t.Errorf("%d bytes came back of %d", len(got.Body), size)
	}
}

// upTo takes that many bytes, and no more.
type upTo struct {
	to   io.Writer
	left int
}

// Write implements [io.Writer].
func (w *upTo) Write(p []byte) (int, error) {
	n, err := w.to.Write(p[:min(len(p), w.left)])
	if w.left -= n; err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

func TestRequestIsThatOfAServer(t *testing.T) {
	t.Parallel()
	h := func(_ http.ResponseWriter, r *http.Request) {
		_, isServer := r.Context().Value(http.ServerContextKey).(*http.Server)
		local, isAddr := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if !isServer || !isAddr || local.Network() != "modulebus" || local.String() == "" {
			t.Errorf("its context has the address %v, and a server: %v", local, isServer)
		}
		if r.Method == http.MethodConnect && (r.URL.Host != "example.com:443" || r.URL.Scheme != "" || r.URL.Path != "") {
			t.Errorf("CONNECT leads to %+v", r.URL)
		}
	}
	for method, target := range map[string]string{"GET": "/", "CONNECT": "example.com:443"} {
		answerOf(t.Context(), http.HandlerFunc(h), tunneltest.Encode(&frame.Request{Method: method, Target: target}), nil)
	}
}

func TestControllerMovesTheDeadlines(t *testing.T) {
	t.Parallel()
	past := time.Unix(1, 0)
	n := tunneltest.Connect(t, gateway.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if err := errors.Join(c.EnableFullDuplex(), c.SetReadDeadline(past)); err != nil {
			t.Error(err)
		}
		var timeout net.Error
		if _, err := r.Body.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("read after the deadline: %v", err)
		}
		if err := errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Now().Add(waittest.Patience))); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(w, r.Body)
	}))
	want := string(tunneltest.Pattern(100 << 10))
	got := tunneltest.Receive(t, tunneltest.Serve(t, n.Gateway), tunneltest.Request("POST", "/", strings.NewReader(want)))
	if got.Body != want {
		t.Errorf("%d bytes came back", len(got.Body))
	}
}

// TestConnIsOneOfTheHandlers has what the handler hijacked as the end that is looked at, with its deadlines.
func TestConnIsOneOfTheHandlers(t *testing.T) {
	t.Parallel()
	conns := make(chan net.Conn, 1)
	s := tunneltest.Serve(t, tunneltest.Tunnelled(t, hijacking(conns, true)))
	nettest.TestConn(t, func() (inner, outer net.Conn, stop func(), err error) {
		outer, inner = upgraded(t, s, conns)
		if inner.LocalAddr().Network() != "modulebus" || inner.RemoteAddr().String() != outer.LocalAddr().String() {
			t.Errorf("it is from %v to %v", inner.RemoteAddr(), inner.LocalAddr())
		}
		return inner, outer, func() { outer.Close(); inner.Close() }, nil
	})
}
