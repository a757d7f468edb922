package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/modulebus/modulebus/modulekit"
)

const resource = "/_synapse/client/bench"

// page is the resource, the same behind both.
func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"hello":"alice"}`) // It fails only when the client is gone.
}

// getResource puts both behind an HTTP server of the homeserver's, and one HTTP client in front.
func getResource(callers int) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		if ours, err = tunnelled(s, callers); err == nil {
			peer, err = proxied(s, callers)
		}
		return ours, peer, err
	}
}

func tunnelled(s *stage, callers int) (side, error) {
	h, err := newHomeserver(s, "example.com", "module")
	if err != nil {
		return side{}, err
	}
	err = h.module("module", func(api *modulekit.ModuleAPI) { api.RegisterWebResource(resource, http.HandlerFunc(page)) })
	if err != nil {
		return side{}, err
	}
	return s.getting(h.client.Handler(), callers)
}

// proxied is a reverse proxy that keeps a connection for each caller, which net/http's default transport does not.
func proxied(s *stage, callers int) (side, error) {
	mux := http.NewServeMux()
	mux.HandleFunc(resource, page)
	back, err := s.serve(mux)
	if err != nil {
		return side{}, err
	}
	to, err := url.Parse(back)
	if err != nil {
		return side{}, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to); r.SetXForwarded() },
		Transport: s.httpClient(callers).Transport,
	}
	return s.getting(proxy, callers)
}

func (s *stage) getting(h http.Handler, callers int) (side, error) {
	front, err := s.serve(h)
	c := s.httpClient(callers)
	return side{callers, func(ctx context.Context) error { return get(ctx, c, front+resource) }}, err
}

func get(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	rsp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if err == nil && (rsp.StatusCode != http.StatusOK || len(body) == 0) {
		err = fmt.Errorf("status %d, %d bytes", rsp.StatusCode, len(body))
	}
	return err
}
