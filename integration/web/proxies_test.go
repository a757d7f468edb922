package web_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/modulekit"
)

func TestModuleSeesWhatTheOperatorsProxiesSayOfAClient(t *testing.T) {
	t.Parallel()
	for trusted, want := range map[string]string{
		"[127.0.0.0/8]": "192.0.2.7",
		"[192.0.2.1]":   "127.0.0.1",
		"[]":            "127.0.0.1",
	} {
		h := testbed.Open(t, natstest.InProcess(t), "example.com", "  - module: page\nhttp: {listen: '127.0.0.1:0', trusted_proxies: "+trusted+"}\n")
		serveFrom(t, h)
		h.Settle()
		_, out := h.Request("GET", "/_synapse/client/page", nil, "X-Forwarded-For", "192.0.2.7")
		if string(out) != want {
			t.Errorf("trusting %s, the module sees %q; want %s", trusted, out, want)
		}
	}
}

// serveFrom runs a module whose page says where a request comes from.
func serveFrom(t *testing.T, h *testbed.Homeserver) {
	t.Helper()
	page := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterWebResource("/_synapse/client/page", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(r.Header.Get("X-Forwarded-For"))) // It fails only when the client is gone.
		}))
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	nc := natstest.Connect(t, h.Home)
	go func() { ended <- modulekit.Run(ctx, nc, page, modulekit.Options{ServerName: h.Name, Module: "page"}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
