package otlp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/otlp"
)

// collector answers as the test says, and keeps what it was sent.
type collector struct {
	*httptest.Server

	mu       sync.Mutex
	requests []*http.Request
	bodies   [][]byte
}

// listen starts a collector, over TLS if secure.
func listen(t *testing.T, secure bool, answer http.HandlerFunc) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		c.requests, c.bodies = append(c.requests, r), append(c.bodies, body)
		c.mu.Unlock()
		answer(w, r)
	}))
	c.Config.Protocols = new(http.Protocols)
	c.Config.Protocols.SetHTTP1(true)
	c.Config.Protocols.SetHTTP2(true)
	c.Config.Protocols.SetUnencryptedHTTP2(true)
	if c.EnableHTTP2 = secure; secure {
		c.StartTLS()
	} else {
		c.Start()
	}
	t.Cleanup(c.Close)
	return c
}

// sent sends a span of that name as the variables say, and returns what OpenTelemetry's error handler heard.
func sent(t *testing.T, name string, environment map[string]string) string {
	t.Helper()
	for name, value := range environment {
		t.Setenv("OTEL_EXPORTER_OTLP_"+name, value)
	}
	var heard atomic.Value
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { heard.CompareAndSwap(nil, err.Error()) }))
	p, err := otlp.Open(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	_, span := p.Tracer("test").Start(context.Background(), name)
	span.End()
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	text, _ := heard.Load().(string)
	return text
}

// has reports an error unless a request brought the span, and returns its header.
func (c *collector) has(t *testing.T, request int, name string) http.Header {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	r, body := c.requests[request], c.bodies[request]
	if r.Header.Get("Content-Type") == "application/grpc" {
		if r.ProtoMajor != 2 || r.Header.Get("TE") != "trailers" || len(body) < 5 || int(body[4]) != (len(body)-5)%256 {
			t.Errorf("%s with %v and % x is not gRPC", r.Proto, r.Header, body)
		}
		body = body[5:]
	}
	if r.Header.Get("Content-Encoding")+r.Header.Get("Grpc-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(z)
		}
		if err != nil {
			t.Error(err)
		}
	}
	got := &tracev1.TracesData{}
	if err := proto.Unmarshal(body, got); err != nil || !strings.Contains(got.String(), name) {
		t.Errorf("%v, %v has no span %s", got, err, name)
	}
	return r.Header
}

func took(http.ResponseWriter, *http.Request) {}

//nolint:paralleltest // It sets variables.
func TestVariablesSayWhereSpansGo(t *testing.T) {
	for _, tt := range []struct{ endpoint, path, want string }{
		{"ENDPOINT", "", "/v1/traces"},
		{"ENDPOINT", "/base/", "/base/v1/traces"},
		{"TRACES_ENDPOINT", "", "/"},
		{"TRACES_ENDPOINT", "/v1/own", "/v1/own"},
	} {
		t.Run(tt.endpoint+tt.path, func(t *testing.T) {
			c := listen(t, false, took)
			heard := sent(t, "there", map[string]string{
				tt.endpoint: " " + c.URL + tt.path, "HEADERS": "tenant=a%2Cb, x=1", "COMPRESSION": "gzip",
			})
			if h := c.has(t, 0, "there"); h.Get("Tenant") != "a,b" || h.Get("X") != "1" || c.requests[0].URL.Path != tt.want || heard != "" {
				t.Errorf("%s with %v came, and %q", c.requests[0].URL, h, heard)
			}
		})
	}
}

// TestCollectorShowsItsCertificate has one whose authority is in a file, and both forms of the protocol.
//
//nolint:paralleltest // It sets variables.
func TestCollectorShowsItsCertificate(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			c := listen(t, true, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Grpc-Status", "0") })
			file := filepath.Join(t.TempDir(), "ca.pem")
			text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			environment := map[string]string{"ENDPOINT": c.URL, "PROTOCOL": protocol, "COMPRESSION": "gzip", "CERTIFICATE": file}
			if heard := sent(t, "secret", environment); heard != "" {
				t.Error(heard)
			}
			c.has(t, 0, "secret")
		})
	}
}

//nolint:paralleltest // It sets variables.
func TestSpansAreSentAgainWhileCollectorHasNoTime(t *testing.T) {
	for protocol, busy := range map[string]http.HandlerFunc{
		"http/protobuf": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"grpc":          func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Grpc-Status", "14") },
	} {
		t.Run(protocol, func(t *testing.T) {
			var asked atomic.Int32
			c := listen(t, false, func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) == 1 {
					busy(w, r)
					return
				}
				w.Header().Set("Grpc-Status", "0")
			})
			if heard := sent(t, "again", map[string]string{"ENDPOINT": c.URL, "PROTOCOL": protocol}); heard != "" {
				t.Error(heard)
			}
			c.has(t, 1, "again")
		})
	}
}

// TestWhatCollectorRefusesIsTold has collectors that take no span, or not all. None is sent a span twice.
//
//nolint:paralleltest // It sets variables.
func TestWhatCollectorRefusesIsTold(t *testing.T) {
	const partly = "\x0a\x08\x08\x03\x12\x04\"big" // ExportTraceServiceResponse: three, and why
	for name, tt := range map[string]struct {
		protocol string
		answer   http.HandlerFunc
		want     string
	}{
		"a status": {"http/protobuf", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no tenant", http.StatusForbidden) }, "no tenant"},
		"a redirect": {"http/protobuf", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "307"},
		"some spans": {"http/protobuf", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = io.WriteString(w, partly)
		}, `3 spans: "\"big"`},
		"a status of gRPC": {"grpc", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Grpc-Status", "7")
			w.Header().Set("Grpc-Message", "no%20tenant")
		}, "no tenant"},
		"some spans over gRPC": {"grpc", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = fmt.Fprintf(w, "\x00\x00\x00\x00%c%s", len(partly), partly)
			w.Header().Set("Grpc-Status", "0")
		}, `3 spans: "\"big"`},
		"an answer that is not gRPC's": {"grpc", took, "status \"\""},
	} {
		t.Run(name, func(t *testing.T) {
			c := listen(t, false, tt.answer)
			if heard := sent(t, "refused", map[string]string{"ENDPOINT": c.URL, "PROTOCOL": tt.protocol}); !strings.Contains(heard, tt.want) {
				t.Errorf("heard %q, not %q", heard, tt.want)
			}
			if len(c.bodies) != 1 {
				t.Errorf("sent %d times", len(c.bodies))
			}
		})
	}
}

//nolint:paralleltest // It sets variables.
func TestBatchHasItsTime(t *testing.T) {
	c := listen(t, false, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	heard := sent(t, "slow", map[string]string{"ENDPOINT": c.URL, "TIMEOUT": "50"})
	if !strings.Contains(heard, "deadline") {
		t.Errorf("heard %q", heard)
	}
}
