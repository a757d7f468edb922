package door_test

import (
	"fmt"
	"strings"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/modulebus/modulebus/internal/busd/config"
)

// TestSpansOfRequestsTellOfNoUser has users in all that a request has.
func TestSpansOfRequestsTellOfNoUser(t *testing.T) {
	t.Parallel()
	h, kept := newHouse(t), tracetest.NewSpanRecorder()
	o := h.options(config.HTTP{Listen: "127.0.0.1:0"})
	o.TracerProvider = sdk.NewTracerProvider(sdk.WithSpanProcessor(kept))
	d := h.openWith(o)
	d.life.Begin()
	const secret = "alice"
	for path, method := range map[string]string{createPath: "POST", "/_synapse/client/x/@" + secret + "?u=" + secret: "GET", "/_modulebus/antispam/" + secret: "POST"} {
		d.do(method, path, user(secret), "User-Agent", secret, "X-Forwarded-For", secret, "Tracestate", "a="+secret, "Traceparent", traceparent)
	}
	if n := len(kept.Ended()); n != 3 {
		t.Errorf("%d spans", n)
	}
	for _, s := range kept.Ended() {
		if text := fmt.Sprint(s.Name(), s.Attributes(), s.Events(), s.Status()); strings.Contains(text, secret) || strings.Contains(text, "127.0.0.1") {
			t.Errorf("a span tells of a user: %s", text)
		}
	}
}

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
