package web_test

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/modulekit"
)

const serverName = "example.com"

// site is a homeserver with NATS, the roster, and a gateway for web resources.
type site struct {
	url    string
	nats   *server.Server
	client *bus.Client
	front  *httptest.Server
}

// newSite starts a site whose operator lists the modules.
func newSite(t *testing.T, o bus.Options, modules ...string) *site {
	t.Helper()
	s := &site{nats: startNATS(t, &server.Options{})}
	s.url = s.nats.ClientURL()
	nc := s.connect(t)
	r := roster.New()
	var listed []config.Module
	for _, name := range modules {
		listed = append(listed, config.Module{Name: name})
	}
	r.Configure(listed, 0, time.Now())
	service, err := roster.Serve(nc, serverName, r, zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	o.ServerName = serverName
	if s.client, err = bus.New(t.Context(), nc, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	s.front = httptest.NewServer(s.client.Handler())
	t.Cleanup(s.front.Close)
	return s
}

func startNATS(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", cmp.Or(o.Port, server.RANDOM_PORT), true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS did not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func (s *site) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// run runs a worker of a module within the test, and waits until its path is served. It returns what stops it.
func (s *site) run(t *testing.T, module, path string, h http.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	m := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterWebResource(path, h)
		return nil
	}}
	log := zerolog.New(zerolog.NewTestWriter(t))
	nc := s.connect(t)
	go func() {
		ended <- modulekit.Run(ctx, nc, m, modulekit.Options{ServerName: serverName, Module: module, DrainTimeout: time.Second, Log: &log})
	}()
	stopped := false
	stop = func() {
		if cancel(); stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	s.await(t, module, path)
	return stop
}

// await waits until the roster gives the path to the module.
func (s *site) await(t *testing.T, module, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for revision := uint64(0); ; {
		r, err := s.client.AwaitRoster(ctx, revision)
		if err != nil {
			t.Fatalf("%s does not serve %s: %v", module, path, err)
		}
		revision = r.GetRevision()
		for _, m := range r.GetModules() {
			for _, p := range m.GetWebResources() {
				if m.GetName() == module && p == path {
					return
				}
			}
		}
	}
}

func TestWebOverNATS(t *testing.T) {
	t.Parallel()
	s := newSite(t, bus.Options{}, "web")
	s.run(t, "web", "/w", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	for _, size := range []int{0, 10, 40_000, 10 << 20} {
		body := strings.Repeat("x", size)
		rsp, err := http.Post(s.front.URL+"/w", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rsp.Body)
		rsp.Body.Close()
		if err != nil || string(got) != body {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
}

// A handler learns of the hop before it, as behind a reverse proxy; the client gets what it understands.
func TestWebOldClients(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
		_ = http.NewResponseController(w).Flush() // So that its length is not known.
	})
	s := newSite(t, bus.Options{}, "web")
	s.run(t, "web", "/w", handler)
	direct := httptest.NewServer(handler)
	t.Cleanup(direct.Close)
	proxy := httptest.NewServer(plainHop(t, direct.Listener.Addr().String()))
	t.Cleanup(proxy.Close)
	for where, front := range map[string]struct{ at, proto string }{
		"direct":                {direct.URL, "HTTP/1.0"},
		"httputil.ReverseProxy": {proxy.URL, "HTTP/1.1"},
		"through the tunnel":    {s.front.URL, "HTTP/1.1"},
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(front.at, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET /w HTTP/1.0\r\n\r\n")
		rsp, err := io.ReadAll(c)
		head, body, _ := strings.Cut(string(rsp), "\r\n\r\n")
		if err != nil || body != front.proto || strings.Contains(head, "chunked") {
			t.Errorf("%s: %q, %v", where, rsp, err)
		}
	}
}
