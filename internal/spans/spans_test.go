package spans_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/wire"
)

//nolint:paralleltest // What other tests allocate would count.
func TestNoSpansCostNothing(t *testing.T) {
	none := spans.New(nil, "bus")
	ctx, m := t.Context(), &nats.Msg{Header: nats.Header{wire.HeaderTimeout: {"5"}}}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if n := testing.AllocsPerRun(100, func() {
		called, span := none.Call(ctx, trace.SpanKindClient, "get_room_state")
		span.Of("module", "worker")
		span.Fail("timeout")
		span.End()
		_, served := none.Serve(called, m, "get_room_state")
		served.End()
		asked, web := none.Web(spans.ReceivedHTTP(r), trace.SpanKindServer, "/")
		spans.SendHTTP(asked)
		web.Answered(http.StatusOK)
		if c := spans.Carried(called); c.Parent != "" {
			t.Error("a context without a span carries one")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestTraceIsTheSameBehindEachDoor sends a trace over NATS, in headers of any case, and over HTTP.
func TestTraceIsTheSameBehindEachDoor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sent := drawn(t)
		ctx := trace.ContextWithSpanContext(context.Background(), sent)
		h := nats.Header{}
		spans.Carried(ctx).Put(h)
		if rapid.Bool().Draw(t, "canonical") {
			h = nats.Header{"Traceparent": h[wire.HeaderTraceparent], "Tracestate": h[wire.HeaderTracestate]}
		}
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		spans.SendHTTP(r)
		for door, got := range map[string]context.Context{
			"NATS": spans.Received(context.Background(), &nats.Msg{Header: h}),
			"HTTP": spans.ReceivedHTTP(r.WithContext(context.Background())).Context(),
		} {
			if is := trace.SpanContextFromContext(got); !is.IsRemote() || !is.Equal(sent.WithRemote(true)) {
				t.Errorf("over %s: got %+v, want %+v", door, is, sent)
			}
		}
	})
}

func drawn(t *rapid.T) trace.SpanContext {
	id := func(name string, n int) []byte { return rapid.SliceOfN(rapid.ByteRange(1, 255), n, n).Draw(t, name) }
	c := trace.SpanContextConfig{TraceID: trace.TraceID(id("trace", 16)), SpanID: trace.SpanID(id("span", 8))}
	c.TraceFlags = c.TraceFlags.WithSampled(rapid.Bool().Draw(t, "sampled"))
	if rapid.Bool().Draw(t, "stateful") {
		c.TraceState, _ = trace.ParseTraceState("vendor=" + rapid.StringMatching(`[a-z0-9]{1,20}`).Draw(t, "state"))
	}
	return trace.NewSpanContext(c)
}

func TestWhatIsNoTraceIsNone(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "00", "00-0-0-0", "00-00000000000000000000000000000000-0000000000000000-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"} {
		ctx := spans.Received(t.Context(), &nats.Msg{Header: nats.Header{wire.HeaderTraceparent: {bad}}})
		if got := trace.SpanContextFromContext(ctx); got.IsValid() {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

func TestMethodThatAVisitorMadeUpIsNoName(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]string{"GET": "GET /", "PROPFIND": "HTTP /", "SECRET-4711": "HTTP /"} {
		recorder := tracetest.NewSpanRecorder()
		m := spans.New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)), "bus")
		_, span := m.Web(httptest.NewRequestWithContext(t.Context(), method, "/", nil), trace.SpanKindServer, "/")
		span.End()
		got := recorder.Ended()[0]
		said := fmt.Sprint(got.Attributes())
		if got.Name() != want || method != "GET" && (strings.Contains(said, method) || !strings.Contains(said, "_OTHER")) {
			t.Errorf("%s: the span is %q, with %s", method, got.Name(), said)
		}
	}
}
