package tunnel_test

import (
	"context"
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
		"a head too large":    {encode(get), with("X", strings.Repeat("x", frameLimit), text("x")), tunnel.CodeTooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reply := answerOf(t.Context(), tt.handler, tt.frame, nil)
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
			answerOf(t.Context(), panicking(tt.value), encode(&tunnel.Request{Method: "GET", Target: "/"}), told)
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
		answerOf(context.Background(), http.HandlerFunc(h), frame, nil)
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
	n := connect(t, tunnel.GatewayOptions{TotalTimeout: time.Hour}, http.HandlerFunc(h))
	receive(t, serve(t, n.gateway), request("GET", "/", nil))
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
	answerOf(t.Context(), http.HandlerFunc(h), encode(req), nil)
}

func BenchmarkServe(b *testing.B) {
	frame := encode(browser())
	h := with("Content-Type", "application/json", text(strings.Repeat("x", 256)))
	b.ReportAllocs()
	for b.Loop() {
		answerOf(b.Context(), h, frame, nil)
	}
}

// answers keeps the last frame that a worker sends.
type answers struct{ last []byte }

func (*answers) Ask(tunnel.Destination, string, []byte) error { return tunnel.ErrAbsent }

func (a *answers) Send(_ tunnel.Channel, _ tunnel.Address, _ string, frame []byte) error {
	a.last = append([]byte(nil), frame...)
	return nil
}

func (*answers) MaxFrame() int { return frameLimit }

// answerOf is the frame with which a worker answers another.
func answerOf(ctx context.Context, h http.Handler, frame []byte, told func(any, []byte)) []byte {
	a := &answers{}
	w := tunnel.NewWorker(a, tunnel.WorkerOptions{OnPanic: told})
	w.Serve(ctx, h, tunnel.Address{Process: "gateway", Token: "t"}, frame)
	return a.last
}
