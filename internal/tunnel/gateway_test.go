package tunnel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/tunnel"
)

var (
	quiet = log.New(io.Discard, "", 0)
	epoch = time.Unix(1_000_000_000, 0)
)

// exchange is a carrier that is all exchange.
type exchange func(ctx context.Context, frame []byte) ([]byte, error)

func (exchange) Route(string) (tunnel.Destination, bool) {
	return tunnel.Destination{Module: "gate", Resource: "web"}, true
}

func (e exchange) Exchange(ctx context.Context, _ tunnel.Destination, frame []byte) ([]byte, error) {
	return e(ctx, frame)
}

func (exchange) MaxFrame() int { return frameLimit }

func replying(reply []byte) exchange {
	return func(context.Context, []byte) ([]byte, error) { return reply, nil }
}

func failing(err error) exchange {
	return func(context.Context, []byte) ([]byte, error) { return nil, err }
}

func TestErrorsOfTheGateway(t *testing.T) {
	t.Parallel()
	get := request("GET", "/", nil)
	big := strings.Repeat("x", frameLimit)
	response := func(r tunnel.Response) exchange { return replying(encode(&r)) }
	silent := exchange(func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() })
	lying := exchange(func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, tunnel.ErrLost })
	tests := map[string]struct {
		carrier tunnel.Carrier
		ask     func(string) *http.Request
		status  int
		errcode string
		says    string
	}{
		"no route":          {line{}, request("GET", "/nowhere", nil), 404, "M_UNRECOGNIZED", "Unrecognized request"},
		"absent":            {failing(fmt.Errorf("x: %w", tunnel.ErrAbsent)), get, 503, "M_UNKNOWN", "is not running"},
		"lost":              {failing(tunnel.ErrLost), get, 502, "M_UNKNOWN", "was lost before it answered"},
		"unreachable":       {failing(errors.New("secret")), get, 502, "M_UNKNOWN", "could not be reached"},
		"too slow":          {silent, get, 504, "M_UNKNOWN", "did not answer in time"},
		"too slow and lost": {lying, get, 504, "M_UNKNOWN", "did not answer in time"},

		"a panic":             {line{panicking("secret")}, get, 502, "M_UNKNOWN", "panicked"},
		"a panic after bytes": {line{http.HandlerFunc(late)}, get, 502, "M_UNKNOWN", "panicked"},
		"an invalid status":   {line{status(42)}, get, 502, "M_UNKNOWN", "panicked"},
		"an abort":            {line{panicking(http.ErrAbortHandler)}, get, 502, "M_UNKNOWN", "aborted the request"},
		"less than declared":  {line{with("Content-Length", "9", text("x"))}, get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a protocol switch":   {line{status(101)}, get, 502, "M_UNKNOWN", "cannot be passed on"},
		"an answer too large": {line{text(big)}, get, 502, "M_UNKNOWN", "over the limit of 65536 bytes; it was not sent"},
		"a head too large":    {line{with("X", big, status(200))}, get, 502, "M_UNKNOWN", "over the limit"},
		"too many fields":     {line{http.HandlerFunc(manyFields)}, get, 502, "M_UNKNOWN", "over the limit"},

		"an empty reply":        {replying(nil), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"half a reply":          {replying([]byte("\x12\x01\x05")), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"text for a reply":      {replying([]byte("HTTP/1.1 200 OK\r\n\r\n")), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a request for a reply": {replying(encode(browser())), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"no status":             {response(tunnel.Response{}), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a body cut short":      {response(tunnel.Response{Status: 200, ContentLength: 2, Body: []byte("x")}), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a body with 304":       {response(tunnel.Response{Status: 304, ContentLength: -1, Body: []byte("x")}), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a refusal":             {replying(encode(&tunnel.Reset{Status: 503, Retryable: true, Text: "is busy"})), get, 503, "M_UNKNOWN", "is busy"},
		"blame on the client":   {replying(encode(&tunnel.Reset{Status: 401, Text: "says so"})), get, 502, "M_UNKNOWN", "says so"},

		"a body too large":           {line{}, request("POST", "/", strings.NewReader(big)), 413, "M_TOO_LARGE", "at most 65536 bytes"},
		"one of unknown length":      {line{}, request("POST", "/", unsized(big+big)), 413, "M_TOO_LARGE", "at most 65536 bytes"},
		"a body too large by a head": {line{}, request("POST", "/", strings.NewReader(big[1:])), 413, "M_TOO_LARGE", "at most 65536 bytes"},
		"a header too large":         {line{}, fielded("X", big), 431, "M_TOO_LARGE", "65536 bytes of header"},
		"a target too large":         {line{}, request("GET", "/"+big, nil), 431, "M_TOO_LARGE", "65536 bytes of header"},
		"a head beyond the frame":    {&shrinking{line{}, []int{100}}, get, 431, "M_TOO_LARGE", "100 bytes of header"},
		"an upgrade":                 {line{}, fielded("Connection", "Upgrade", "Upgrade", "websocket"), 501, "M_UNRECOGNIZED", "does not carry upgrades yet"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := tunnel.GatewayOptions{}
			if strings.HasPrefix(name, "too slow") {
				opts.ResponseTimeout = time.Millisecond
			}
			got := receive(t, serve(t, tunnel.NewGateway(tt.carrier, opts)), tt.ask)
			var body struct{ Errcode, Error string }
			if err := json.Unmarshal([]byte(got.Body), &body); err != nil {
				t.Fatalf("%v: %s", err, got.Body)
			}
			if got.Status != tt.status || body.Errcode != tt.errcode || !strings.Contains(body.Error, tt.says) {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			if named := strings.HasPrefix(body.Error, "module gate "); named == (tt.status == 404) {
				t.Errorf("module named: %v in %s", named, got.Body)
			}
			if strings.Contains(got.Body, "secret") {
				t.Errorf("told the client %s", got.Body)
			}
			wantHeader(t, got.Header, "Content-Type", "application/json")
			wantHeader(t, got.Header, tunnel.ErrorHeader, "tunnel")
			if retry := got.Header.Get("Retry-After") != ""; retry != (tt.status == 503) {
				t.Errorf("Retry-After: %v with %d", retry, tt.status)
			}
		})
	}
}

func TestOnlyTheGatewaySpeaksUnderItsPrefix(t *testing.T) {
	t.Parallel()
	saw := make(chan http.Header, 1)
	h := func(w http.ResponseWriter, r *http.Request) {
		saw <- r.Header
		w.Header()["modulebus-error"] = []string{"tunnel"}
		w.Header().Set("Trailer", "Modulebus-A, B")
		w.Header().Set("Modulebus-A", "x")
		w.Header().Set(http.TrailerPrefix+"modulebus-c", "x")
		w.Header().Set("B", "x")
	}
	s := serve(t, tunnel.NewGateway(line{http.HandlerFunc(h)}, tunnel.GatewayOptions{}))
	got := receive(t, s, fielded("modulebus-trust", "me"))
	for name := range <-saw {
		if strings.HasPrefix(name, tunnel.ReservedPrefix) {
			t.Errorf("the module saw %s", name)
		}
	}
	want := http.Header{"Modulebus-A": nil, "B": {"x"}} // Announcing a name says nothing under it.
	if diff := cmp.Diff(want, got.Trailer); diff != "" {
		t.Error(diff)
	}
	wantHeader(t, got.Header, tunnel.ErrorHeader, "")
	wantHeader(t, got.Header, "Modulebus-A", "")
}

func TestFieldsOfTheHopStayThere(t *testing.T) {
	t.Parallel()
	saw := make(chan http.Header, 1)
	h := func(w http.ResponseWriter, r *http.Request) {
		saw <- r.Header
		w.Header().Set("Connection", "X-Mine")
		w.Header().Set("X-Mine", "x")
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("Upgrade", "h2c")
	}
	s := serve(t, tunnel.NewGateway(line{http.HandlerFunc(h)}, tunnel.GatewayOptions{}))
	got := receive(t, s, fielded("Connection", "x-hop, Upgrade", "X-Hop", "1", "Upgrade", "h2c", "Keep-Alive", "1",
		"Te", "gzip, trailers", "Proxy-Authorization", "x", "X-Forwarded-For", "6.6.6.6", "X-Forwarded-Proto", "https",
		"X-Forwarded-Host", "evil", "Forwarded", "for=6.6.6.6", "User-Agent", ""))
	want := http.Header{
		"Te": {"trailers"}, "User-Agent": nil, "X-Forwarded-For": {"127.0.0.1"},
		"X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"matrix.example.org"},
	}
	seen := <-saw
	delete(want, "User-Agent")
	delete(seen, "Accept-Encoding")
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("the module saw:\n%s", diff)
	}
	if diff := cmp.Diff(http.Header{}, got.Header); diff != "" {
		t.Errorf("the client saw:\n%s", diff)
	}
}

func TestAClientThatLeavesEndsTheExchange(t *testing.T) {
	t.Parallel()
	started, failed := make(chan struct{}), make(chan error, 1)
	carrier := exchange(func(ctx context.Context, _ []byte) ([]byte, error) {
		close(started)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	told := func(_ tunnel.Destination, err error) { failed <- err }
	s := serve(t, tunnel.NewGateway(carrier, tunnel.GatewayOptions{OnFailure: told}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	_, err := client(s).Do(request("POST", "/", strings.NewReader("x"))(s.URL).WithContext(ctx))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("told %v", err)
	}
}

func TestTheLargestFrameIsAskedForEachRequest(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(mirror)
	limits := &shrinking{line{h}, []int{1 << 10, 100}}
	s := serve(t, tunnel.NewGateway(limits, tunnel.GatewayOptions{}))
	ask := request("POST", "/", bytes.NewBufferString(strings.Repeat("x", 300)))
	for _, want := range []int{200, 413} {
		if got := receive(t, s, ask); got.Status != want {
			t.Errorf("got %d, want %d: %s", got.Status, want, got.Body)
		}
	}
}

// shrinking has one limit for each request to come.
type shrinking struct {
	line
	limits []int
}

func (s *shrinking) MaxFrame() int {
	limit := s.limits[0]
	s.limits = s.limits[1:]
	return limit
}

func TestTheCauseOfAFailureIsTold(t *testing.T) {
	t.Parallel()
	cause, failed := errors.New("cause"), make(chan error, 1)
	told := func(to tunnel.Destination, err error) { failed <- fmt.Errorf("%s: %w", to.Module, err) }
	g := tunnel.NewGateway(failing(cause), tunnel.GatewayOptions{OnFailure: told})
	g.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if err := <-failed; !errors.Is(err, cause) || err.Error() != "gate: tunnel: could not be reached: cause" {
		t.Errorf("told %v", err)
	}
}

func wantHeader(t *testing.T, h http.Header, name, want string) {
	t.Helper()
	if got := h.Get(name); got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func panicking(v any) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { panic(v) }
}

func late(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "half of an ans")
	panic("secret")
}

func manyFields(w http.ResponseWriter, _ *http.Request) {
	for range tunnel.MaxFields + 1 {
		w.Header().Add("A", "")
	}
}

func TestABrokenBodyIsNotPassedOn(t *testing.T) {
	t.Parallel()
	asked := exchange(func(context.Context, []byte) ([]byte, error) {
		t.Error("the module was asked")
		return nil, tunnel.ErrAbsent
	})
	r := httptest.NewRequest("POST", "/", iotest.ErrReader(io.ErrUnexpectedEOF))
	w := httptest.NewRecorder()
	tunnel.NewGateway(asked, tunnel.GatewayOptions{}).ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "the request body is broken") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestABodyIsNotReadPastTheFrame(t *testing.T) {
	t.Parallel()
	body := &counter{}
	r := httptest.NewRequest("POST", "/", body)
	w := httptest.NewRecorder()
	tunnel.NewGateway(line{}, tunnel.GatewayOptions{}).ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge || body.read > frameLimit {
		t.Errorf("got %d after %d bytes", w.Code, body.read)
	}
}

// counter is an endless body.
type counter struct{ read int }

func (c *counter) Read(p []byte) (int, error) {
	c.read += len(p)
	return len(p), nil
}

func TestConnectIsAnUpgrade(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	g := tunnel.NewGateway(line{}, tunnel.GatewayOptions{})
	g.ServeHTTP(w, httptest.NewRequest("CONNECT", "example.org:443", nil))
	if w.Code != http.StatusNotImplemented {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestHTTP2InFrontOfTheGateway(t *testing.T) {
	t.Parallel()
	h := func(w http.ResponseWriter, r *http.Request) {
		trailers("Trailer", "A", "A", r.Header.Get("X-Forwarded-Proto"))(w, r)
	}
	s := httptest.NewUnstartedServer(tunnel.NewGateway(line{http.HandlerFunc(h)}, tunnel.GatewayOptions{}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	got := receive(t, s, request("POST", "/", unsized("hello")))
	if diff := cmp.Diff(http.Header{"A": {"https"}}, got.Trailer); diff != "" || got.Body != "body" {
		t.Errorf("got %q, trailers %s", got.Body, diff)
	}
}

func TestAReplyCannotContradictItsLength(t *testing.T) {
	t.Parallel()
	lies := []tunnel.Field{{Name: "Content-Length", Value: "99"}, {Name: "Transfer-Encoding", Value: "chunked"}}
	reply := &tunnel.Response{Status: 200, ContentLength: -1, Fields: lies, Body: []byte("x")}
	got := receive(t, serve(t, tunnel.NewGateway(replying(encode(reply)), tunnel.GatewayOptions{})), request("GET", "/", nil))
	if got.Status != 200 || got.Length != 1 || got.Body != "x" {
		t.Errorf("got %+v", got)
	}
	lies = append(lies, tunnel.Field{Name: "A", Value: "b"})
	reply = &tunnel.Response{Status: 200, ContentLength: -1, Trailers: lies}
	got = receive(t, serve(t, tunnel.NewGateway(replying(encode(reply)), tunnel.GatewayOptions{})), request("GET", "/", nil))
	if diff := cmp.Diff(http.Header{"A": {"b"}}, got.Trailer); diff != "" {
		t.Error(diff)
	}
}
