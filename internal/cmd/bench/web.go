package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const resource = "/_synapse/client/bench"

// page is the resource, the same behind both.
func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"hello":"alice"}`) // It fails only when the client is gone.
}

// getResource puts both behind an HTTP server, as a homeserver has one.
func getResource(callers int) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		if ours, err = tunnelled(s, callers); err == nil {
			peer, err = proxied(s, callers)
		}
		return ours, peer, err
	}
}

// getSecured is getResource where NATS wants TLS, and the module behind the proxy does.
func getSecured(callers int) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		mux := http.NewServeMux()
		mux.HandleFunc(resource, page)
		back := httptest.NewTLSServer(mux)
		s.onClose(func() error { back.Close(); return nil })
		trust := back.Client().Transport.(*http.Transport)
		if err = s.launch(&server.Options{TLS: true, TLSConfig: &tls.Config{Certificates: back.TLS.Certificates}}); err != nil {
			return ours, peer, err
		}
		s.options = append(s.options, nats.Secure(trust.TLSClientConfig.Clone()))
		if ours, err = tunnelled(s, callers); err == nil {
			trust.MaxIdleConnsPerHost = callers
			peer, err = s.proxied(back.URL, trust, callers)
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
	return s.proxied(back, s.httpClient(callers).Transport, callers)
}

func (s *stage) proxied(back string, by http.RoundTripper, callers int) (side, error) {
	to, err := url.Parse(back)
	if err != nil {
		return side{}, err
	}
	rewrite := func(r *httputil.ProxyRequest) { r.SetURL(to); r.SetXForwarded() }
	return s.getting(&httputil.ReverseProxy{Rewrite: rewrite, Transport: by}, callers)
}

// getting asks a server with the handler for the page. Its callers cost little, as a load generator's do: net/http's
// client would cost more than what the two sides differ in.
func (s *stage) getting(h http.Handler, callers int) (side, error) {
	front, err := s.serve(h)
	if err != nil {
		return side{}, err
	}
	idle := make(chan *browser, callers)
	for range callers {
		b, err := s.browse(strings.TrimPrefix(front, "http://"))
		if err != nil {
			return side{}, err
		}
		idle <- b
	}
	return side{callers, func(context.Context) error {
		b := <-idle
		defer func() { idle <- b }()
		return b.get()
	}}, nil
}

// browser has one connection, on which it gets one page after the other.
type browser struct {
	conn    net.Conn
	read    *bufio.Reader
	request []byte
}

func (s *stage) browse(address string) (*browser, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	s.onClose(conn.Close)
	request := "GET " + resource + " HTTP/1.1\r\nHost: " + address + "\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
	return &browser{conn, bufio.NewReader(conn), []byte(request)}, nil
}

func (b *browser) get() error {
	if _, err := b.conn.Write(b.request); err != nil {
		return err
	}
	rsp, err := http.ReadResponse(b.read, nil)
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
