package homeserver_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/homeserver"
)

// TestCallHasASpan has a homeserver that answers, one that does not want to, and one that is away.
func TestCallHasASpan(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]codes.Code{200: codes.Unset, 500: codes.Error, 0: codes.Error} {
		var told string
		_, hs := forwarder(t, func(w http.ResponseWriter, r *http.Request) {
			told = r.Header.Get("Traceparent")
			answers(status, `{"is_admin":true}`)(w, r)
		}, "")
		if status == 0 {
			hs.Close()
		}
		recorder := tracetest.NewSpanRecorder()
		tracing := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
		f, err := homeserver.New(config.Homeserver{URL: hs.URL}, tracing, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, _ = isAdmin(t.Context(), f)
		got := recorder.Ended()
		if len(got) != 1 || got[0].Name() != "HTTP POST" || got[0].SpanKind() != trace.SpanKindClient || got[0].Status().Code != want {
			t.Fatalf("%d: %v", status, got)
		}
		if status != 0 && !strings.Contains(told, got[0].SpanContext().SpanID().String()) {
			t.Errorf("%d: the homeserver was told %q", status, told)
		}
	}
}
