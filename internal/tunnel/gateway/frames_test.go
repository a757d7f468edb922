package gateway_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
)

func TestSmallRequestsTakeOneFrameEachWay(t *testing.T) {
	t.Parallel()
	told := make(chan *gateway.Report, 1)
	n := tunneltest.Connect(t, gateway.Options{Done: func(r *gateway.Report) { told <- r }}, tunneltest.Text("hello"))
	tunneltest.Receive(t, tunneltest.Serve(t, n.Gateway), tunneltest.Request("POST", "/", strings.NewReader("x")))
	if r := <-told; !r.Fast || n.Count("REQ") != 1 || n.Count("RSP") != 1 || len(n.Sent()) != 2 {
		t.Errorf("%+v: %v", r, n.Sent())
	}
}

func TestFramesFitWhatTheLineCarriesNow(t *testing.T) {
	t.Parallel()
	var n *tunneltest.Network
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(tunneltest.Pattern(100_000))
		n.SetLimit(2000)
		_, _ = w.Write(tunneltest.Pattern(100_000))
	})
	n = tunneltest.Connect(t, gateway.Options{}, h)
	n.Meddle = func(f frame.Frame, deliver func()) {
		if size := len(tunneltest.Encode(f)); size > n.Limit() {
			t.Errorf("a %T of %d bytes", f, size)
		}
		deliver()
	}
	if got := tunneltest.Receive(t, tunneltest.Serve(t, n.Gateway), tunneltest.Request("GET", "/", nil)); len(got.Body) != 200_000 {
		t.Errorf("got %d bytes", len(got.Body))
	}
}

// A client that has all of a body when the handler returns has its end, too: in one frame, and with no flush between.
func TestBodyLastFrameSaysSo(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "hello")
	})
	n := tunneltest.Connect(t, gateway.Options{}, h)
	client := &flushes{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest("POST", "/", iotest.DataErrReader(bytes.NewReader(make([]byte, 40_000))))
	r.ContentLength = 40_000
	n.Gateway.ServeHTTP(client, r)
	if client.Body.String() != "hello" || client.bare != 1 || client.flushes != 1 {
		t.Errorf("got %q, %d flushes, %d of them before the body", client.Body, client.flushes, client.bare)
	}
	if ends := n.Count("END"); ends != 0 {
		t.Errorf("%d ends of their own", ends)
	}
}

// flushes counts them: all, and those before the body.
type flushes struct {
	*httptest.ResponseRecorder
	flushes, bare int
}

func (f *flushes) Flush() {
	f.flushes++
	if f.Body.Len() == 0 {
		f.bare++
	}
}

func TestWritesReachTheClientWithoutAFlush(t *testing.T) {
	t.Parallel()
	may := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "now")
		<-may
	})
	s := tunneltest.Serve(t, tunneltest.Tunnelled(t, h))
	rsp, err := tunneltest.Client(s).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if _, err := io.ReadFull(rsp.Body, make([]byte, 3)); err != nil {
		t.Error(err)
	}
	close(may)
	if _, err := io.ReadAll(rsp.Body); err != nil {
		t.Error(err)
	}
}
