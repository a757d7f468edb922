package worker_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
	"github.com/modulebus/modulebus/internal/tunnel/worker"
	"github.com/modulebus/modulebus/internal/webpath"
)

func TestResets(t *testing.T) {
	t.Parallel()
	get := &frame.Request{Method: "GET", Target: "/"}
	short := &frame.Request{Method: "GET", Target: "/", ContentLength: 5}
	tests := map[string]struct {
		frame   []byte
		handler http.HandlerFunc
		want    frame.Code
	}{
		"no frame":            {nil, nil, frame.CodeMalformed},
		"no request":          {tunneltest.Encode(&frame.Reset{}), nil, frame.CodeMalformed},
		"a body cut short":    {tunneltest.Encode(short), nil, frame.CodeMalformed},
		"a target of no form": {tunneltest.Encode(&frame.Request{Method: "GET", Target: "a b"}), nil, frame.CodeMalformed},
		"CR LF in the target": {tunneltest.Encode(&frame.Request{Method: "GET", Target: "/\r\nX: y"}), nil, frame.CodeMalformed},
		"a method of no form": {tunneltest.Encode(&frame.Request{Method: "G T", Target: "/"}), nil, frame.CodeMalformed},
		"a panic":             {tunneltest.Encode(get), tunneltest.Panicking("x"), frame.CodePanic},
		"an abort":            {tunneltest.Encode(get), tunneltest.Panicking(http.ErrAbortHandler), frame.CodeAborted},
		"a head too large":    {tunneltest.Encode(get), tunneltest.With("X", strings.Repeat("x", frame.MaxHead), tunneltest.Text("x")), frame.CodeTooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reply := answerOf(t.Context(), tt.handler, tt.frame, nil)
			f, err := frame.Decode(reply)
			if err != nil {
				t.Fatal(err)
			}
			if r, ok := f.(*frame.Reset); !ok || r.Code != tt.want || r.Status != 502 || r.Retryable {
				t.Errorf("got %+v, want %v", f, tt.want)
			}
		})
	}
}

func TestPanicIsReportedWithItsStack(t *testing.T) {
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
				if !strings.Contains(string(stack), "tunneltest/http.go") {
					t.Errorf("stack without the handler:\n%s", stack)
				}
			}
			answerOf(t.Context(), tunneltest.Panicking(tt.value), tunneltest.Encode(&frame.Request{Method: "GET", Target: "/"}), told)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequestDeadlineIsTheHandlers(t *testing.T) {
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
		frame := tunneltest.Encode(&frame.Request{Method: "GET", Target: "/", Deadline: d})
		answerOf(context.Background(), http.HandlerFunc(h), frame, nil)
	}
}

func TestGatewayTellsTheTimeLeft(t *testing.T) {
	t.Parallel()
	h := func(w http.ResponseWriter, r *http.Request) {
		at, ok := r.Context().Deadline()
		if left := time.Until(at); !ok || left > time.Hour {
			t.Errorf("left: %v, %v", left, ok)
		}
	}
	n := tunneltest.Connect(t, gateway.Options{TotalTimeout: time.Hour}, http.HandlerFunc(h))
	tunneltest.Receive(t, tunneltest.Serve(t, n.Gateway), tunneltest.Request("GET", "/", nil))
}

func TestInterleavedNamesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	want := http.Header{"A": {"1", "3", "5"}, "B": {"2", "4"}}
	h := func(_ http.ResponseWriter, r *http.Request) {
		if diff := cmp.Diff(want, r.Header); diff != "" {
			t.Error(diff)
		}
	}
	req := &frame.Request{Method: "GET", Target: "/", Fields: []frame.Field{
		{Name: "A", Value: "1"}, {Name: "B", Value: "2"}, {Name: "A", Value: "3"}, {Name: "B", Value: "4"}, {Name: "A", Value: "5"},
	}}
	answerOf(t.Context(), http.HandlerFunc(h), tunneltest.Encode(req), nil)
}

func BenchmarkServe(b *testing.B) {
	frame := tunneltest.Encode(tunneltest.Browser())
	h := tunneltest.With("Content-Type", "application/json", tunneltest.Text(strings.Repeat("x", 256)))
	b.ReportAllocs()
	for b.Loop() {
		answerOf(b.Context(), h, frame, nil)
	}
}

// answers keeps the last frame that a worker sends.
type answers struct {
	mu   sync.Mutex
	last []byte
}

func (*answers) Ask(webpath.Resource, string, []byte) error { return gateway.ErrAbsent }

func (a *answers) Send(_ flow.Channel, _ flow.Address, _ string, frame []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = append([]byte(nil), frame...)
	return nil
}

func (*answers) MaxFrame() int { return tunneltest.FrameLimit }

func (*answers) Near(flow.Address, func([]byte), func()) flow.Line { return nil }

// answerOf is the frame with which a worker answers another.
func answerOf(ctx context.Context, h http.Handler, frame []byte, told func(any, []byte)) []byte {
	a := &answers{}
	w := worker.New(a, worker.Options{OnPanic: told})
	w.Serve(ctx, h, flow.Address{Process: "gateway", Token: "t"}, frame)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// FuzzServe holds the worker to a readable reply for any frame whatever.
func FuzzServe(f *testing.F) {
	for _, s := range tunneltest.Samples() {
		f.Add(tunneltest.Encode(s))
	}
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = r.Write(w) })
	f.Fuzz(func(t *testing.T, b []byte) {
		reply, err := frame.Decode(answerOf(t.Context(), echo, b, nil))
		if _, asked := reply.(*frame.Request); err != nil || asked {
			t.Errorf("got %T, %v", reply, err)
		}
	})
}
