package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
)

// holdBodies keeps what the worker sends of bodies back until the worker's reset has arrived, which travels on the other
// channel.
func holdBodies(n *tunneltest.Network, ofWorker func(frame.Frame) bool) {
	var mu sync.Mutex
	var held []func()
	n.Meddle = func(f frame.Frame, deliver func()) {
		mu.Lock()
		now := []func(){deliver}
		r, isReset := f.(*frame.Reset)
		switch {
		case isReset && r.Text == "takes no more of the request":
			now, held = append(now, held...), nil
		case ofWorker(f):
			now, held = nil, append(held, deliver)
		}
		mu.Unlock()
		for _, deliver := range now {
			deliver()
		}
	}
}

func TestWebSocketGetsLastMessageOfAHandlerThatCloses(t *testing.T) {
	t.Parallel()
	const last = "1009: message too big"
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = c.Read(make([]byte, 10))
		_, _ = io.WriteString(c, last)
		_ = c.Close()
	})
	n := tunneltest.Connect(t, gateway.Options{}, h)
	holdBodies(n, func(f frame.Frame) bool {
		switch f := f.(type) {
		case *frame.Data:
			return string(f.Bytes) == last
		case *frame.End:
			return f.Offset == uint64(len(last))
		case *frame.Reset:
			return f.Text == "closed the connection"
		}
		return false
	})
	c, err := net.Dial("tcp", tunneltest.Serve(t, n.Gateway).Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(c)
	if rsp, err := http.ReadResponse(r, nil); err != nil || rsp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(rsp, err)
	}
	var talking sync.WaitGroup
	talking.Go(func() { talk(c) })
	defer talking.Wait()
	if got, err := io.ReadAll(r); string(got) != last || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	_ = c.Close() // It ends the talking.
}

// talk says a little again and again, until nobody listens, so that some of it arrives after the handler has ended.
func talk(to io.Writer) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		if _, err := to.Write(make([]byte, 100)); err != nil {
			return
		}
	}
}

func TestResponseToAnUploadThatIsNotReadIsWhole(t *testing.T) {
	t.Parallel()
	want := tunneltest.Pattern(200_000)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write(want)
	})
	n := tunneltest.Connect(t, gateway.Options{}, h)
	holdBodies(n, func(f frame.Frame) bool {
		d, ok := f.(*frame.Data)
		return ok && len(d.Bytes) > 0 && bytes.Contains(want, d.Bytes) && d.Offset >= 150_000
	})
	s := tunneltest.Serve(t, n.Gateway)
	body, client := io.Pipe()
	var talking sync.WaitGroup
	talking.Go(func() { talk(client) })
	defer talking.Wait()
	defer body.Close()
	rsp, err := s.Client().Post(s.URL, "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if got, err := io.ReadAll(rsp.Body); !bytes.Equal(got, want) || err != nil {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}

// A worker that exits when its last response is on its way: nobody is there any more who takes credit.
func TestResponseOfAWorkerThatHasLeftIsWhole(t *testing.T) {
	t.Parallel()
	want := tunneltest.Pattern(300_000)
	n := tunneltest.Connect(t, gateway.Options{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(want)
	}))
	var once sync.Once
	n.Meddle = func(f frame.Frame, deliver func()) {
		if d, ok := f.(*frame.Data); ok && d.Offset > 100_000 {
			once.Do(func() { n.Gateway.Unheard(flow.ControlToken, "a") })
		}
		deliver()
	}
	w := httptest.NewRecorder()
	n.Gateway.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if !bytes.Equal(w.Body.Bytes(), want) {
		t.Errorf("%d bytes of %d", w.Body.Len(), len(want))
	}
}

func TestClientThatHalfClosesGetsItsAnswer(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]int{"a small one": 10, "a large one": 3 << 20} {
		for _, sent := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"} {
			t.Run(name+" to a "+sent[:4], func(t *testing.T) {
				t.Parallel()
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					<-r.Context().Done()
					_, _ = w.Write(tunneltest.Pattern(body))
				})
				told := make(chan *gateway.Report, 1)
				n := tunneltest.Connect(t, gateway.Options{Done: func(r *gateway.Report) { told <- r }}, h)
				c, err := net.Dial("tcp", tunneltest.Serve(t, n.Gateway).Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				fmt.Fprint(c, sent)
				_ = c.(*net.TCPConn).CloseWrite()
				rsp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(rsp.Body); rsp.StatusCode != http.StatusOK || len(got) != body || err != nil {
					t.Errorf("%d, %d bytes, %v", rsp.StatusCode, len(got), err)
				}
				if r := <-told; r.Outcome != gateway.ClientGone || r.Status != http.StatusOK {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// lastRead is a body at whose end net/http's server sees that the client has closed its side, before Read returns.
type lastRead struct {
	io.Reader
	left   context.CancelFunc
	closed chan struct{}
	once   sync.Once
}

func (b *lastRead) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		b.left()
		<-b.closed
	}
	return n, err
}

func (b *lastRead) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

func TestClientThatHalfClosesAtTheEndOfItsBodyGetsItsAnswer(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"a small one": 2, "one whose last part waits for credit": 258 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := tunneltest.Connect(t, gateway.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = r.Body.Read(make([]byte, 1))
				<-r.Context().Done()
				rest, err := io.ReadAll(r.Body)
				_, _ = fmt.Fprint(w, 1+len(rest), err)
			}))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := httptest.NewRecorder()
			sent := iotest.DataErrReader(bytes.NewReader(make([]byte, size)))
			defer func() {
				if v := recover(); v != nil || w.Body.String() != fmt.Sprint(size, nil) {
					t.Errorf("answered %q, and panicked: %v", w.Body, v)
				}
			}()
			body := &lastRead{Reader: sent, left: cancel, closed: make(chan struct{})}
			n.Gateway.ServeHTTP(w, httptest.NewRequest("POST", "/", body).WithContext(ctx))
		})
	}
}

func TestModuleChoosesOneOfTheProtocolsAskedFor(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]int{"foo, bar": 101, "bar,FOO": 101, "h2c, foo": 101, "bar": 502, "h2c": 502} {
		t.Run(asked, func(t *testing.T) {
			t.Parallel()
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Upgrade", "foo")
				w.WriteHeader(http.StatusSwitchingProtocols)
				if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
					_ = c.Close()
				}
			})
			c, err := net.Dial("tcp", tunneltest.Serve(t, tunneltest.Tunnelled(t, h)).Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, upgrade\r\nUpgrade: %s\r\n\r\n", asked)
			rsp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || rsp.StatusCode != want {
				t.Errorf("got %v, %v", rsp, err)
			}
		})
	}
}

func TestUploadThatBreaksOffIsNotSaidToBeUnasked(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		close(begun)
		<-r.Context().Done()
	})
	c, err := net.Dial("tcp", tunneltest.Serve(t, tunneltest.Tunnelled(t, h)).Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
	<-begun
	fmt.Fprint(c, "no chunk\r\n")
	rsp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(rsp.Body)
	if rsp.StatusCode != http.StatusBadRequest || bytes.Contains(got, []byte("not asked")) || !bytes.Contains(got, []byte("broke off")) {
		t.Errorf("%d %s", rsp.StatusCode, got)
	}
}
