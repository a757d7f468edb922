package gateway_test

import (
	"net/http/httptest"
	"testing"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
	"github.com/modulebus/modulebus/internal/webpath"
)

// TestServiceWorkersReachNoFurtherThanTheirResource has a page say how far its service worker may reach.
func TestServiceWorkersReachNoFurtherThanTheirResource(t *testing.T) {
	t.Parallel()
	const own = "/_synapse/client/gate"
	for scope, passes := range map[string]bool{
		own + "/": true, own + "/app/": true, own + "/app?x=1": true,
		"/": false, "": false, own: false, own + "r/": false, "/_synapse/client/": false, "/_modulebus/": false, "./": false, "../../../": false, "//evil.example/": false,
		own + "/../../../": false, own + "/%2e%2e/%2e%2e/": false, own + "/.%2E/": false, own + `/..\..\`: false, own + "/.\t./": false, "http://localhost/": false,
		own + "/, /": false, "\t/": false,
	} {
		s := &scripted{script: func(g *gateway.Gateway, token string, _ []byte) error {
			fields := []frame.Field{{Name: "Service-Worker-Allowed", Value: scope}, {Name: "X-Other", Value: "kept"}}
			g.Receive(flow.Control, token, flow.Address{}, tunneltest.Encode(&frame.Response{Status: 200, Fields: fields}))
			return nil
		}}
		s.gateway = gateway.New(s, func(string) (webpath.Resource, bool) { return webpath.Resource{Module: "gate", Path: own}, true }, gateway.Options{})
		w := httptest.NewRecorder()
		s.gateway.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", own+"/sw.js", nil))
		want := ""
		if passes {
			want = scope
		}
		if got := w.Header().Get("Service-Worker-Allowed"); got != want || w.Header().Get("X-Other") != "kept" {
			t.Errorf("%q: passed on as %q, with %v", scope, got, w.Header())
		}
	}
}
