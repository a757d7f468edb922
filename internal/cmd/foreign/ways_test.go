package foreign_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/rs/zerolog"
)

// mount is where handlers are that may be anywhere.
const mount = "/_synapse/client/foreign"

const (
	direct   = "the handler itself"
	proxied  = "behind httputil.ReverseProxy"
	tunneled = "behind the tunnel"
)

// suite is a client that others wrote, and a handler for it.
type suite[T any] struct {
	path    string                            // of the web resource; default: mount
	handler func(*testing.T) http.Handler     // a new one for each way; it sees the whole path
	client  func(t *testing.T, base string) T // base is the URL of path
	except  map[string]string                 // ways that cannot do it, and why
	excuse  func(way string, direct, got T) T // what the other ways may say instead, and why; default: nothing
}

// run runs the client along each way, and wants all of them to come to the same as the handler itself.
func (s suite[T]) run(t *testing.T) {
	t.Helper()
	want := s.along(t, direct)
	for _, way := range []string{proxied, tunneled} {
		if s.except[way] != "" {
			continue
		}
		got := s.along(t, way)
		expected := want
		if s.excuse != nil {
			expected = s.excuse(way, want, got)
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%s (-), %s (+):\n%s", direct, way, diff)
		}
	}
}

func (s suite[T]) along(t *testing.T, way string) (got T) {
	t.Helper()
	if s.path == "" {
		s.path = mount
	}
	t.Run(way, func(t *testing.T) {
		h := s.handler(t)
		switch way {
		case proxied:
			h = proxy(t, listen(t, h))
		case tunneled:
			h = tunnel(t, s.path, h)
		}
		got = s.client(t, listen(t, h)+s.path)
	})
	return got
}

// listen serves HTTP/1.1 and, without TLS, HTTP/2.
func listen(t *testing.T, h http.Handler) (base string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = protocols(true)
	s.Config.DisableGeneralOptionsHandler = true // What OPTIONS * means is for the handler to say.
	s.Config.ErrorLog = quiet
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

var quiet = log.New(io.Discard, "", 0)

func protocols(http1 bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(http1)
	p.SetUnencryptedHTTP2(true)
	return p
}

// proxy is the hop that everybody knows, set up as well as it can be. It speaks to the server what the client spoke.
func proxy(t *testing.T, base string) http.Handler {
	t.Helper()
	to, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	hop := func(p *http.Protocols) http.Handler {
		transport := &http.Transport{DisableCompression: true, Protocols: p}
		t.Cleanup(transport.CloseIdleConnections)
		return &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				r.SetXForwarded()
				r.Out.Host, r.Out.URL.RawQuery, r.Out.Trailer = r.In.Host, r.In.URL.RawQuery, r.In.Trailer
			},
			FlushInterval: -1, Transport: transport, ErrorLog: quiet,
		}
	}
	one, two := hop(nil), hop(protocols(false))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			two.ServeHTTP(w, r)
			return
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		one.ServeHTTP(w, r)
	})
}

// tunnel is a homeserver with one module, whose web resource at the path is the handler, on a NATS server of their own
// that they reach over TCP.
func tunnel(t *testing.T, path string, h http.Handler) http.Handler {
	t.Helper()
	const server, module = "example.com", "foreign"
	home := natstest.TCP(t)
	listed := roster.New()
	listed.Configure([]config.Module{{Name: module, Timeout: config.DefaultTimeout}}, config.DefaultBudget, time.Now())
	service, err := roster.Serve(natstest.Connect(t, home), server, listed, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	client, err := bus.New(t.Context(), natstest.Connect(t, home), bus.Options{ServerName: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	work(t, home, server, module, func(api *modulekit.ModuleAPI) { api.RegisterWebResource(path, h) })
	awaitResource(t, client, path)
	return client.Handler()
}

// work runs a worker of the module until the test ends.
func work(t *testing.T, home *natstest.Home, server, module string, register func(*modulekit.ModuleAPI)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	nc := natstest.Connect(t, home)
	m := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error { register(api); return nil }}
	go func() { ended <- modulekit.Run(ctx, nc, m, modulekit.Options{ServerName: server, Module: module}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the module: %v", err)
		}
	})
}

func awaitResource(t *testing.T, client *bus.Client, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for r := client.Roster(); ; {
		for _, m := range r.GetModules() {
			if strings.Contains(strings.Join(m.GetWebResources(), " "), path) {
				return
			}
		}
		var err error
		if r, err = client.AwaitRoster(ctx, r.GetRevision()); err != nil {
			t.Fatalf("the module has not joined: %v", r)
		}
	}
}

// patience is for what hangs.
const patience = time.Minute

// below mounts a handler that knows nothing of where it is.
func below(h http.Handler) func(*testing.T) http.Handler {
	return func(*testing.T) http.Handler { return http.StripPrefix(mount, h) }
}

// httpClient keeps its connections to itself, hides no encoding and follows no redirects.
func httpClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// h2Client speaks HTTP/2 from the first byte.
func h2Client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: protocols(false)}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// must(f())(t) is what f returns, when it returns no error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
