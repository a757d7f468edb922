package httpdoor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/internal/busd/door/httpdoor"
)

// TestSpansOfRequestsTellOfNoUser has users in all that a request has.
func TestSpansOfRequestsTellOfNoUser(t *testing.T) {
	t.Parallel()
	h, kept := doortest.New(t), tracetest.NewSpanRecorder()
	o := h.Options(config.HTTP{Listen: "127.0.0.1:0"})
	o.TracerProvider = sdk.NewTracerProvider(sdk.WithSpanProcessor(kept))
	d := h.ServeWith(o)
	d.Life.Begin()
	const secret = "alice"
	for path, method := range map[string]string{doortest.CreatePath: "POST", "/_synapse/client/x/@" + secret + "?u=" + secret: "GET", "/_modulebus/antispam/" + secret: "POST"} {
		d.Do(method, path, doortest.User(secret), "User-Agent", secret, "X-Forwarded-For", secret, "Tracestate", "a="+secret, "Traceparent", traceparent)
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

// TestVisitorsNameNoTraceToModules has a busd that makes no spans, and so passes on what it gets.
func TestVisitorsNameNoTraceToModules(t *testing.T) {
	t.Parallel()
	for name, foreign := range map[string]bool{"visitor": true, "proxy": false} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Traceparent", traceparent)
		r.Header.Set("Tracestate", "a=b")
		var passed http.Header
		next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { passed = r.Header })
		httpdoor.Spanned(func(*http.Request) bool { return foreign }, next).ServeHTTP(httptest.NewRecorder(), r)
		if got := passed.Get("Traceparent") + passed.Get("Tracestate"); (got == "") != foreign {
			t.Errorf("%s: modules get %q", name, got)
		}
	}
}
