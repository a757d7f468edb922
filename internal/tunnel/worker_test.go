package tunnel_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/tunnel"
)

func TestResets(t *testing.T) {
	t.Parallel()
	get := &tunnel.Request{Method: "GET", Target: "/"}
	short := &tunnel.Request{Method: "GET", Target: "/", ContentLength: 5}
	tests := map[string]struct {
		frame   []byte
		handler http.HandlerFunc
		want    tunnel.Code
	}{
		"no frame":            {nil, nil, tunnel.CodeMalformed},
		"no request":          {encode(&tunnel.Reset{}), nil, tunnel.CodeMalformed},
		"a body cut short":    {encode(short), nil, tunnel.CodeMalformed},
		"a target of no form": {encode(&tunnel.Request{Method: "GET", Target: "a b"}), nil, tunnel.CodeMalformed},
		"CR LF in the target": {encode(&tunnel.Request{Method: "GET", Target: "/\r\nX: y"}), nil, tunnel.CodeMalformed},
		"a method of no form": {encode(&tunnel.Request{Method: "G T", Target: "/"}), nil, tunnel.CodeMalformed},
		"a panic":             {encode(get), panicking("x"), tunnel.CodePanic},
		"an abort":            {encode(get), panicking(http.ErrAbortHandler), tunnel.CodeAborted},
		"an answer too large": {encode(get), text(strings.Repeat("x", frameLimit)), tunnel.CodeTooLarge},
		"one in small writes": {encode(get), text(strings.Split(strings.Repeat("x", frameLimit), "")...), tunnel.CodeTooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reply := tunnel.Serve(t.Context(), tt.handler, tt.frame, frameLimit, nil)
			f, err := tunnel.Decode(reply)
			if err != nil {
				t.Fatal(err)
			}
			if r, ok := f.(*tunnel.Reset); !ok || r.Code != tt.want || r.Status != 502 || r.Retryable {
				t.Errorf("got %+v, want %v", f, tt.want)
			}
		})
	}
}

func TestAnEndlessAnswerIsNotHeld(t *testing.T) {
	t.Parallel()
	var taken int64
	h := func(w http.ResponseWriter, _ *http.Request) {
		n, err := io.Copy(w, zeros{})
		if taken = n; err == nil {
			t.Error("no error")
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("no error afterwards")
		}
		if _, err := io.WriteString(w, "x"); err == nil {
			t.Error("no error for a string")
		}
	}
	tunnel.Serve(t.Context(), http.HandlerFunc(h), encode(&tunnel.Request{Method: "GET", Target: "/"}), frameLimit, nil)
	if taken > frameLimit {
		t.Errorf("took %d bytes", taken)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestAPanicIsReportedWithItsStack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		value any
		want  []any
	}{
		"a bug":      {"boom", []any{"boom"}},
		"on purpose": {http.ErrAbortHandler, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []any
			told := func(v any, stack []byte) {
				got = append(got, v)
				if !strings.Contains(string(stack), "gateway_test.go") {
					t.Errorf("stack without the handler:\n%s", stack)
				}
			}
			tunnel.Serve(t.Context(), panicking(tt.value), encode(&tunnel.Request{Method: "GET", Target: "/"}), frameLimit, told)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheDeadlineIsTheHandlers(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, time.Millisecond} {
		h := func(_ http.ResponseWriter, r *http.Request) {
			if _, ok := r.Context().Deadline(); ok != (d > 0) {
				t.Errorf("%v: deadline %v", d, ok)
			}
			if d > 0 {
				<-r.Context().Done()
			}
		}
		frame := encode(&tunnel.Request{Method: "GET", Target: "/", Deadline: d})
		tunnel.Serve(context.Background(), http.HandlerFunc(h), frame, frameLimit, nil)
	}
}

func TestTheGatewayTellsTheTimeLeft(t *testing.T) {
	t.Parallel()
	h := func(w http.ResponseWriter, r *http.Request) {
		at, ok := r.Context().Deadline()
		if left := time.Until(at); !ok || left > time.Hour {
			t.Errorf("left: %v, %v", left, ok)
		}
	}
	detached := exchange(func(_ context.Context, frame []byte) ([]byte, error) {
		return tunnel.Serve(context.Background(), http.HandlerFunc(h), frame, frameLimit, nil), nil
	})
	g := tunnel.NewGateway(detached, tunnel.GatewayOptions{ResponseTimeout: time.Hour})
	receive(t, serve(t, g), request("GET", "/", nil))
}

func TestInterleavedNamesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	want := http.Header{"A": {"1", "3", "5"}, "B": {"2", "4"}}
	h := func(_ http.ResponseWriter, r *http.Request) {
		if diff := cmp.Diff(want, r.Header); diff != "" {
			t.Error(diff)
		}
	}
	req := &tunnel.Request{Method: "GET", Target: "/", Fields: []tunnel.Field{
		{Name: "A", Value: "1"}, {Name: "B", Value: "2"}, {Name: "A", Value: "3"}, {Name: "B", Value: "4"}, {Name: "A", Value: "5"},
	}}
	tunnel.Serve(t.Context(), http.HandlerFunc(h), encode(req), frameLimit, nil)
}

func BenchmarkServe(b *testing.B) {
	frame := encode(browser())
	h := with("Content-Type", "application/json", text(strings.Repeat("x", 256)))
	b.ReportAllocs()
	for b.Loop() {
		tunnel.Serve(b.Context(), h, frame, frameLimit, nil)
	}
}
