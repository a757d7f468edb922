package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/natstransport"
	"github.com/modulebus/modulebus/internal/tunnel/worker"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/subjects"
)

// hop makes the handler that stands in front of a server at an address.
type hop func(t *testing.T, backend string) http.Handler

// plainHop is what everybody else puts in front.
func plainHop(_ *testing.T, backend string) http.Handler {
	proxy := forward(backend)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		proxy.ServeHTTP(w, r)
	})
}

// forward passes requests on as they are.
func forward(backend string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: backend})
			r.Out.Host = r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Trailer = r.In.Trailer // It is filled in as the body ends.
			for name, values := range r.In.Header {
				if strings.HasPrefix(name, "X-Forwarded-") {
					r.Out.Header[name] = values
				}
			}
		},
		FlushInterval: -1,
		Transport:     &http.Transport{DisableCompression: true, ExpectContinueTimeout: time.Second}, // As the default one.
		ErrorLog:      log.New(io.Discard, "", 0),
	}
}

// tunnelHop is a gateway, NATS, and a worker whose handler is the plain hop: what is lost is the tunnel's fault.
func tunnelHop(t *testing.T) hop {
	t.Helper()
	s := startNATS(t, &server.Options{})
	at := subjects.For(serverName)
	control := connectTo(t, s.ClientURL())
	nc := connectTo(t, s.ClientURL())
	line := natstransport.Worker(nc, at, "m", "w")
	wk := worker.New(line, worker.Options{})
	t.Cleanup(wk.Lost) // Whatever the foreign tests left behind ends with the connection, as a module's requests do.
	open(t, line, wk)
	return func(t *testing.T, backend string) http.Handler {
		t.Helper()
		handler := asSent(forward(backend))
		_, err := nc.Subscribe(at.Web("m", backend), func(m *nats.Msg) {
			process, token := subjects.StreamOf(m.Reply)
			go wk.Serve(context.Background(), handler, flow.Address{Process: process, Token: token}, m.Data)
		})
		if err != nil || nc.Flush() != nil {
			t.Error("cannot serve", backend)
		}
		return aside(newGateway(t, control, backend))
	}
}

// The gateway decides what X-Forwarded-* say; its own tests hold that. Foreign tests expect what they sent: it travels
// through the tunnel under another name.
const (
	forwarded = "X-Forwarded-"
	underway  = "Sent-"
)

// aside renames what a client says of itself.
func aside(h http.Handler) http.Handler {
	return rename(h, func(name string) string {
		if strings.HasPrefix(name, forwarded) {
			return underway + name
		}
		return name
	})
}

// asSent drops what the gateway said, and undoes aside.
func asSent(h http.Handler) http.Handler {
	return rename(h, func(name string) string {
		if strings.HasPrefix(name, forwarded) {
			return ""
		}
		return strings.TrimPrefix(name, underway)
	})
}

// rename gives the fields of requests other names, and drops those that get none.
func rename(h http.Handler, as func(string) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := http.Header{}
		for name, values := range r.Header {
			if name = as(name); name != "" {
				header[name] = values
			}
		}
		r.Header = header
		h.ServeHTTP(w, r)
	})
}

// newGateway is a gateway all of whose paths are one resource's.
func newGateway(t *testing.T, nc *nats.Conn, resource string) http.Handler {
	t.Helper()
	line := natstransport.Gateway(nc, subjects.For(serverName), nuid.Next())
	toResource := func(string) (webpath.Resource, bool) { return webpath.Resource{Module: "m", Path: resource}, true }
	g := gateway.New(line, toResource, gateway.Options{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	open(t, line, g)
	return g
}

func open(t *testing.T, l *natstransport.Transport, side natstransport.Side) {
	t.Helper()
	if err := l.Open(side); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
}

func connectTo(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// tunneld gives each server that a foreign test starts an address behind a hop. Its protocol is a line each way.
func tunneld(t *testing.T, h hop) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fronts := sync.Map{}
	t.Cleanup(func() {
		l.Close()
		fronts.Range(func(s, _ any) bool { s.(*http.Server).Close(); return true })
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			backend, _ := bufio.NewReader(c).ReadString('\n')
			front, s := serveHop(until(t.Context(), h(t, strings.TrimSpace(backend))))
			fronts.Store(s, true)
			fmt.Fprintln(c, front)
			c.Close()
		}
	}()
	return l.Addr().String()
}

// until ends the requests of tests that hang when the context ends. A closed connection does not, where a body is unread.
func until(over context.Context, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(over, cancel)()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

func serveHop(h http.Handler) (addr string, s *http.Server) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", &http.Server{}
	}
	s = &http.Server{Handler: h, DisableGeneralOptionsHandler: true, ErrorLog: log.New(io.Discard, "", 0)}
	go s.Serve(l)
	return l.Addr().String(), s
}
