package gateway_test

import (
	"net/http"
	"testing"

	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
)

func allowed(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	serve(w, r)
}

func serve(http.ResponseWriter, *http.Request) {}

func TestPreflightIsTheModules(t *testing.T) {
	t.Parallel()
	s := tunneltest.Serve(t, tunneltest.Tunnelled(t, http.HandlerFunc(allowed)))
	preflight := func(base string) *http.Request {
		r := tunneltest.Request("OPTIONS", "/", nil)(base)
		r.Header.Set("Origin", "https://app.example.org")
		r.Header.Set("Access-Control-Request-Method", "PUT")
		return r
	}
	got := tunneltest.Receive(t, s, preflight)
	if got.Status != http.StatusNoContent || got.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("got %+v", got)
	}
}
