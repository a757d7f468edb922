package gateway_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
	"github.com/modulebus/modulebus/internal/webpath"
)

// scripted is a carrier with one worker, who answers each request as the script says.
type scripted struct {
	gateway *gateway.Gateway
	script  func(g *gateway.Gateway, token string, frame []byte) error
}

// script builds a gateway over a script.
func script(opts gateway.Options, f func(g *gateway.Gateway, token string, frame []byte) error) *gateway.Gateway {
	s := &scripted{script: f}
	s.gateway = gateway.New(s, toGate, opts)
	return s.gateway
}

func toGate(string) (webpath.Resource, bool) {
	return webpath.Resource{Module: "gate", Path: "web"}, true
}

func (*scripted) Token(webpath.Resource) string { return flow.NewToken() }

func (s *scripted) Ask(_ webpath.Resource, token string, frame []byte) error {
	return s.script(s.gateway, token, frame)
}

func (*scripted) Send(flow.Channel, flow.Address, string, []byte) error { return nil }

func (*scripted) MaxFrame() int { return tunneltest.FrameLimit }

func (*scripted) Near(flow.Address, func([]byte), func()) flow.Line { return nil }

func replying(reply []byte) *gateway.Gateway {
	return script(gateway.Options{}, func(g *gateway.Gateway, token string, _ []byte) error {
		g.Receive(flow.Control, token, flow.Address{}, reply)
		return nil
	})
}

func failing(err error) *gateway.Gateway {
	return script(gateway.Options{}, func(*gateway.Gateway, string, []byte) error { return err })
}

func silent(opts gateway.Options) *gateway.Gateway {
	return script(opts, func(*gateway.Gateway, string, []byte) error { return nil })
}

// parts replies with frames, one after the other.
func parts(all ...*frame.Part) http.Handler {
	return script(gateway.Options{}, func(g *gateway.Gateway, token string, _ []byte) error {
		for _, p := range all {
			g.Receive(flow.Control, token, flow.Address{}, tunneltest.Encode(p))
		}
		return nil
	})
}

func TestHeaderLargerThanAFrameArrives(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 3*tunneltest.FrameLimit)
	for name, tt := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"whole":    {tunneltest.Text("hello"), "hello"},
		"streamed": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large+large) }, large + large},
		"bare":     {tunneltest.Status(200), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tunneltest.Serve(t, tunneltest.Tunnelled(t, tunneltest.With("X", large, tt.h)))
			got := tunneltest.Receive(t, s, tunneltest.Request("GET", "/", nil))
			if got.Status != 200 || got.Header.Get("X") != large || got.Body != tt.want {
				t.Errorf("got %d, %d bytes of header and %d of body", got.Status, len(got.Header.Get("X")), len(got.Body))
			}
		})
	}
}

func TestGatewayErrors(t *testing.T) {
	t.Parallel()
	get := tunneltest.Request("GET", "/", nil)
	big := strings.Repeat("x", tunneltest.FrameLimit)
	response := func(r frame.Response) http.Handler { return replying(tunneltest.Encode(&r)) }
	line := func(h http.HandlerFunc) http.Handler { return tunneltest.Tunnelled(t, h) }
	quick := gateway.Options{AcceptTimeout: time.Millisecond, ResponseTimeout: time.Millisecond}
	limited := tunneltest.Connect(t, gateway.Options{BodyLimit: 1000}, http.HandlerFunc(tunneltest.Mirror)).Gateway
	tests := map[string]struct {
		gateway http.Handler
		ask     func(string) *http.Request
		status  int
		errcode string
		says    string
	}{
		"no route":     {tunneltest.Connect(t, gateway.Options{}).Gateway, tunneltest.Request("GET", "/nowhere", nil), 404, "M_UNRECOGNIZED", "Unrecognized request"},
		"absent":       {tunneltest.Connect(t, gateway.Options{}).Gateway, get, 503, "M_UNKNOWN", "is not running"},
		"unreachable":  {failing(errors.New("secret")), get, 503, "M_UNKNOWN", "is not running"},
		"not accepted": {silent(quick), get, 504, "M_UNKNOWN", "did not answer in time"},
		"too slow":     {tunneltest.Connect(t, gateway.Options{ResponseTimeout: time.Millisecond}, waiting).Gateway, get, 504, "M_UNKNOWN", "did not answer in time"},
		"too long":     {silent(gateway.Options{TotalTimeout: time.Millisecond}), get, 504, "M_UNKNOWN", "took too long"},

		"a panic":             {line(tunneltest.Panicking("secret")), get, 502, "M_UNKNOWN", "panicked"},
		"a panic after bytes": {line(late), get, 502, "M_UNKNOWN", "panicked"},
		"an invalid status":   {line(tunneltest.Status(42)), get, 502, "M_UNKNOWN", "panicked"},
		"an abort":            {line(tunneltest.Panicking(http.ErrAbortHandler)), get, 502, "M_UNKNOWN", "aborted the request"},
		"less than declared":  {line(tunneltest.With("Content-Length", "9", tunneltest.Text("x"))), get, 502, "M_UNKNOWN", "less than it had declared"},
		"a protocol switch":   {line(tunneltest.Status(101)), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a head too large":    {line(tunneltest.With("X", strings.Repeat("x", frame.MaxHead), tunneltest.Status(200))), get, 502, "M_UNKNOWN", "over the limit"},
		"too many fields":     {line(manyFields), get, 502, "M_UNKNOWN", "over the limit"},

		"parts of no frame":       {parts(&frame.Part{Last: true, Bytes: []byte("x")}), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"parts of a request":      {parts(&frame.Part{Last: true, Bytes: tunneltest.Encode(tunneltest.Browser())}), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a part that is missing":  {parts(&frame.Part{}, &frame.Part{Last: true, Offset: 1}), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"parts that are too many": {parts(&frame.Part{Bytes: make([]byte, frame.MaxHead)}, &frame.Part{Offset: frame.MaxHead, Bytes: []byte("x")}), get, 502, "M_UNKNOWN", "cannot be passed on"},

		"an empty reply":        {replying(nil), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"half a reply":          {replying([]byte("\x12\x01\x05")), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"text for a reply":      {replying([]byte("HTTP/1.1 200 OK\r\n\r\n")), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a request for a reply": {replying(tunneltest.Encode(tunneltest.Browser())), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"no status":             {response(frame.Response{}), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a body cut short":      {response(frame.Response{Status: 200, ContentLength: 2, Body: []byte("x")}), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a body with 304":       {response(frame.Response{Status: 304, ContentLength: -1, Body: []byte("x")}), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a refusal":             {replying(tunneltest.Encode(&frame.Reset{Status: 503, Retryable: true, Text: "is busy"})), get, 503, "M_UNKNOWN", "is busy"},
		"blame on the client":   {replying(tunneltest.Encode(&frame.Reset{Status: 401, Text: "says so"})), get, 502, "M_UNKNOWN", "says so"},

		"a body too large":      {limited, tunneltest.Request("POST", "/", strings.NewReader(big)), 413, "M_TOO_LARGE", "at most 1000 bytes"},
		"one of unknown length": {limited, tunneltest.Request("POST", "/", tunneltest.Unsized(big)), 413, "M_TOO_LARGE", "at most 1000 bytes"},
		"a header too large":    {line(nil), tunneltest.Fielded("X", big), 431, "M_TOO_LARGE", "32768 bytes of header"},
		"a target too large":    {line(nil), tunneltest.Request("GET", "/"+big, nil), 431, "M_TOO_LARGE", "32768 bytes of header"},
		"an end without data":   {response(frame.Response{Status: 200, More: true, Body: []byte("x")}), get, 502, "M_UNKNOWN", "cannot be passed on"},
		"a switch nobody asked": {response(frame.Response{Status: 101, More: true, Upgrade: true}), get, 502, "M_UNKNOWN", "cannot be passed on"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tunneltest.Receive(t, tunneltest.Serve(t, tt.gateway), tt.ask)
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
			wantHeader(t, got.Header, gateway.ErrorHeader, "tunnel")
			if retry := got.Header.Get("Retry-After") != ""; retry != (tt.status == 503) {
				t.Errorf("Retry-After: %v with %d", retry, tt.status)
			}
		})
	}
}

func TestReservedPrefixIsTheGatewaysAlone(t *testing.T) {
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
	s := tunneltest.Serve(t, tunneltest.Tunnelled(t, http.HandlerFunc(h)))
	got := tunneltest.Receive(t, s, tunneltest.Fielded("modulebus-trust", "me"))
	for name := range <-saw {
		if strings.HasPrefix(name, frame.ReservedPrefix) {
			t.Errorf("the module saw %s", name)
		}
	}
	want := http.Header{"Modulebus-A": nil, "B": {"x"}} // Announcing a name says nothing under it.
	if diff := cmp.Diff(want, got.Trailer); diff != "" {
		t.Error(diff)
	}
	wantHeader(t, got.Header, gateway.ErrorHeader, "")
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
	s := tunneltest.Serve(t, tunneltest.Tunnelled(t, http.HandlerFunc(h)))
	got := tunneltest.Receive(t, s, tunneltest.Fielded("Connection", "x-hop, Upgrade", "X-Hop", "1", "Upgrade", "h2c", "Keep-Alive", "1",
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

// waiting is a handler that does nothing until nobody waits for it.
var waiting http.HandlerFunc = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestFailureTellsItsCause(t *testing.T) {
	t.Parallel()
	cause, told := errors.New("cause"), make(chan *gateway.Report, 1)
	opts := gateway.Options{Done: func(r *gateway.Report) { told <- r }}
	g := script(opts, func(*gateway.Gateway, string, []byte) error { return cause })
	g.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	r := <-told
	if !errors.Is(r.Err, cause) || r.Outcome != gateway.NoResponders || r.Status != 503 || r.To.Module != "gate" {
		t.Errorf("told %+v", r)
	}
}

func wantHeader(t *testing.T, h http.Header, name, want string) {
	t.Helper()
	if got := h.Get(name); got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func late(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "half of an ans")
	panic("secret")
}

func manyFields(w http.ResponseWriter, _ *http.Request) {
	for range frame.MaxFields + 1 {
		w.Header().Add("A", "")
	}
}

func TestBrokenBodyIsNotPassedOn(t *testing.T) {
	t.Parallel()
	asked := script(gateway.Options{}, func(*gateway.Gateway, string, []byte) error {
		t.Error("the module was asked")
		return gateway.ErrAbsent
	})
	r := httptest.NewRequest("POST", "/", iotest.ErrReader(io.ErrUnexpectedEOF))
	r.ContentLength = 10
	w := httptest.NewRecorder()
	asked.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "did not get the whole request") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestGatewayBehindHTTP2(t *testing.T) {
	t.Parallel()
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.TLS == nil {
			t.Errorf("the module saw %s", r.Proto)
		}
		tunneltest.Trailers("Trailer", "A", "A", r.Header.Get("X-Forwarded-Proto"))(w, r)
	}
	s := httptest.NewUnstartedServer(tunneltest.Tunnelled(t, http.HandlerFunc(h)))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	got := tunneltest.Receive(t, s, tunneltest.Request("POST", "/", tunneltest.Unsized("hello")))
	if diff := cmp.Diff(http.Header{"A": {"https"}}, got.Trailer); diff != "" || got.Body != "body" {
		t.Errorf("got %q, trailers %s", got.Body, diff)
	}
}

// TestPartBehindTheResponseEndsIt holds that a response that is under way takes no memory for another.
func TestPartBehindTheResponseEndsIt(t *testing.T) {
	t.Parallel()
	told := make(chan *gateway.Report, 1)
	g := script(gateway.Options{Done: func(r *gateway.Report) { told <- r }}, func(g *gateway.Gateway, token string, _ []byte) error {
		for _, f := range []frame.Frame{&frame.Response{Status: 200, More: true, ContentLength: -1}, &frame.Part{Bytes: []byte("x")}} {
			g.Receive(flow.Control, token, flow.Address{}, tunneltest.Encode(f))
		}
		g.Receive(flow.Bulk, token, flow.Address{}, tunneltest.Encode(&frame.Data{Last: true, Bytes: []byte("x")}))
		return nil
	})
	func() {
		defer func() { _ = recover() }() // A response that is cut ends in a panic.
		g.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}()
	if r := <-told; r.Outcome != gateway.BadResponse {
		t.Errorf("got %v: %v", r.Outcome, r.Err)
	}
}

func TestReplyCannotContradictItsLength(t *testing.T) {
	t.Parallel()
	lies := []frame.Field{{Name: "Content-Length", Value: "99"}, {Name: "Transfer-Encoding", Value: "chunked"}}
	reply := &frame.Response{Status: 200, ContentLength: -1, Fields: lies, Body: []byte("x")}
	got := tunneltest.Receive(t, tunneltest.Serve(t, replying(tunneltest.Encode(reply))), tunneltest.Request("GET", "/", nil))
	if got.Status != 200 || got.Length != 1 || got.Body != "x" {
		t.Errorf("got %+v", got)
	}
	lies = append(lies, frame.Field{Name: "A", Value: "b"})
	reply = &frame.Response{Status: 200, ContentLength: -1, Trailers: lies}
	got = tunneltest.Receive(t, tunneltest.Serve(t, replying(tunneltest.Encode(reply))), tunneltest.Request("GET", "/", nil))
	if diff := cmp.Diff(http.Header{"A": {"b"}}, got.Trailer); diff != "" {
		t.Error(diff)
	}
}
