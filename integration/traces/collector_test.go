package traces_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// collector takes spans as the protocol defines it: https://opentelemetry.io/docs/specs/otlp/.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer

	url     string
	mu      sync.Mutex
	spans   []span
	headers []string // x-tenant of each request
}

// span is one that came, and the service that it came from.
type span struct {
	*tracev1.Span

	service string
}

// listen starts a collector for one of the forms of the protocol.
func listen(t *testing.T, protocol string) *collector {
	t.Helper()
	c := &collector{}
	if protocol == "grpc" {
		c.listenGRPC(t)
		return c
	}
	s := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

func (c *collector) listenGRPC(t *testing.T) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(s, c)
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-served })
	c.url = "http://" + l.Addr().String()
}

// Export implements [collectorv1.TraceServiceServer].
func (c *collector) Export(ctx context.Context, req *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	sent, _ := metadata.FromIncomingContext(ctx)
	c.take(req, sent.Get("x-tenant"))
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func (c *collector) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	req := &collectorv1.ExportTraceServiceRequest{}
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, req) != nil {
		http.Error(w, "no spans", http.StatusBadRequest)
		return
	}
	c.take(req, r.Header.Values("X-Tenant"))
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *collector) take(req *collectorv1.ExportTraceServiceRequest, tenant []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers = append(c.headers, tenant...)
	for _, resource := range req.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, span{s, attribute(resource.GetResource().GetAttributes(), "service.name")})
			}
		}
	}
}

func (c *collector) tenants() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.headers)
}

func attribute(all []*commonv1.KeyValue, name string) string {
	for _, a := range all {
		if a.GetKey() == name {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// trace returns the spans of a trace that came so far.
func (c *collector) trace(id string) (found []span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == id {
			found = append(found, s)
		}
	}
	return found
}

// find returns the span of that name, in whichever trace.
func (c *collector) find(name string) (span, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.spans, func(s span) bool { return s.GetName() == name })
	if i < 0 {
		return span{}, false
	}
	return c.spans[i], true
}

// tree draws spans below their parents, the first of which is somebody else's.
func tree(all []span, parent []byte, indent string) string {
	var text strings.Builder
	for _, s := range all {
		if string(s.GetParentSpanId()) == string(parent) {
			kind := strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_"))
			fmt.Fprintf(&text, "%s%s %s: %s\n%s", indent, s.service, kind, s.GetName(), tree(all, s.GetSpanId(), indent+"  "))
		}
	}
	return text.String()
}
