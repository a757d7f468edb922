// Package traces_test has a homeserver's request traced through a real busd, a module, its call of the Module API and its web
// resources, by a collector of OpenTelemetry.
package traces_test

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/integration/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }

// What the homeserver says that its request is part of.
const (
	trace       = "0af7651916cd43dd8448eb211c80319c"
	parent      = "b7ad6b7169203331"
	traceparent = "00-" + trace + "-" + parent + "-01"
)

const (
	ask     = "/_modulebus/v1/ask/spam_checker/user_may_create_room"
	request = `{"user_id":"@alice:example.com"}`
)

// stage is a busd with the module of examples/traced, and a homeserver that serves the Module API.
type stage struct {
	*testbed.Daemon

	called chan string // traceparent of each call of the Module API
}

func start(t *testing.T, environment ...string) *stage {
	t.Helper()
	s := &stage{called: make(chan string, 16)}
	homeserver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.called <- r.Header.Get("Traceparent")
		_, _ = rw.Write([]byte("{}"))
	}))
	t.Cleanup(homeserver.Close)
	modules := strings.NewReplacer(
		"[go, run, ./examples/traced]", "['"+testbed.Program(t, "examples/traced")+"']",
		"_PROTOCOL]", "_PROTOCOL, OTEL_BSP_SCHEDULE_DELAY, OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER]",
	).Replace(block(t, "```yaml\n"))
	s.Daemon = testbed.Prepare(t, "homeserver: {url: '"+homeserver.URL+"'}\n"+modules)
	s.With(environment...)
	s.Start()
	s.Announced()
	return s
}

// block is the first of the chapter on traces that begins so.
func block(t *testing.T, fence string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(testbed.Root, "docs/operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(page), "\n## Traces\n")
	_, text, found := strings.Cut(chapter, "\n"+fence)
	text, _, _ = strings.Cut(text, "```")
	if !found || strings.Contains(text, "\n## ") {
		t.Fatalf("docs/operating.md has no block %q on traces", fence)
	}
	return text
}

func exporting(t *testing.T, c *collector, protocol string) *stage {
	t.Helper()
	return start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.url, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol, "OTEL_BSP_SCHEDULE_DELAY=20",
		"OTEL_EXPORTER_OTLP_HEADERS=x-tenant=s3cret")
}

// TestRequestIsOneTrace follows the homeserver's request to the homeserver.
func TestRequestIsOneTrace(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			c := listen(t, protocol)
			s := exporting(t, c, protocol)
			_, answer := s.Request(http.MethodPost, ask, []byte(request), "traceparent", traceparent)
			whole := block(t, "```text\n")
			from, err := hex.DecodeString(parent)
			if err != nil {
				t.Fatal(err)
			}
			testbed.Eventually(t, "all spans are there", func() bool { return len(c.trace(trace)) == strings.Count(whole, "\n") })
			testbed.Same(t, "the trace", whole, tree(c.trace(trace), from, ""))
			s.tells(c, answer)
			s.reachesHomeserver()
		})
	}
}

// tells looks at what spans say: what led to whose record, and nothing of the request.
func (s *stage) tells(c *collector, answer []byte) {
	s.Helper()
	var decided struct {
		ID string `json:"decision_id"`
	}
	if err := json.Unmarshal(answer, &decided); err != nil {
		s.Fatalf("%s: %v", answer, err)
	}
	asked, _ := c.find("ask spam_checker.user_may_create_room")
	if id := attribute(asked.GetAttributes(), "modulebus.decision_id"); id == "" || id != decided.ID {
		s.Errorf("the span is of record %q, the answer of %q", id, decided.ID)
	}
	if outcome := attribute(asked.GetAttributes(), "modulebus.outcome"); outcome != decision.Refused {
		s.Errorf("the outcome is %q", outcome)
	}
	_, raw := s.Request(http.MethodGet, "/_modulebus/v1/decisions/"+decided.ID, nil)
	var record decision.Record
	if err := json.Unmarshal(raw, &record); err != nil || record.TraceID != trace {
		s.Errorf("the record is of trace %q: %v", record.TraceID, err)
	}
	for _, sent := range c.trace(trace) {
		if text := sent.String(); strings.Contains(text, "alice") || strings.Contains(text, "Admins create") {
			s.Errorf("a span tells of the request: %s", text)
		}
	}
	if tenants := c.tenants(); len(tenants) == 0 || tenants[0] != "s3cret" || strings.Contains(s.Stderr.String(), "s3cret") {
		s.Errorf("the collector got headers %q, or the log has them", tenants)
	}
}

func (s *stage) reachesHomeserver() {
	s.Helper()
	if got := <-s.called; !strings.HasPrefix(got, "00-"+trace+"-") || strings.Contains(got, parent) {
		s.Errorf("the homeserver is called as part of %q", got)
	}
}

// TestVisitorBeginsATraceOfItsOwn: whoever looks at a module's page does not say what is kept of it.
func TestVisitorBeginsATraceOfItsOwn(t *testing.T) {
	t.Parallel()
	c := listen(t, "http/protobuf")
	s := exporting(t, c, "http/protobuf")
	s.Request(http.MethodGet, "/_synapse/client/traced/hello?secret=1", nil, "traceparent", traceparent)
	const page = "GET /_synapse/client/traced/hello"
	const whole = "busd server: GET web resources\n  busd client: " + page + "\n    traced server: " + page + "\n"
	testbed.Eventually(t, "all spans are there", func() bool {
		sent, ok := c.find(page)
		return ok && len(c.trace(hex.EncodeToString(sent.GetTraceId()))) == strings.Count(whole, "\n")
	})
	sent, _ := c.find(page)
	testbed.Same(t, "the trace", whole, tree(c.trace(hex.EncodeToString(sent.GetTraceId())), nil, ""))
	if n := len(c.trace(trace)); n > 0 {
		t.Errorf("%d spans are of the trace that the visitor named", n)
	}
}

// TestTraceGoesThroughWhoKeepsNone has busd and a module that send no spans anywhere.
func TestTraceGoesThroughWhoKeepsNone(t *testing.T) {
	t.Parallel()
	for name, environment := range map[string][]string{
		"nothing is said": nil,
		"none is wanted":  {"OTEL_TRACES_EXPORTER=none", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"},
		"all is off":      {"OTEL_SDK_DISABLED=true", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, environment...)
			s.Request(http.MethodPost, ask, []byte(request), "traceparent", traceparent)
			if got := <-s.called; got != traceparent {
				t.Errorf("the homeserver is called as part of %q", got)
			}
		})
	}
}

// TestCollectorThatIsAwayCostsSpansAlone has busd say once what is wrong.
func TestCollectorThatIsAwayCostsSpansAlone(t *testing.T) {
	t.Parallel()
	s := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+testbed.FreeAddress(t), "OTEL_BSP_SCHEDULE_DELAY=20", "OTEL_BSP_EXPORT_TIMEOUT=200")
	rsp, _ := s.Request(http.MethodPost, ask, []byte(request))
	if rsp.StatusCode != http.StatusOK {
		t.Errorf("answered %d", rsp.StatusCode)
	}
	s.Stderr.Line(t, "spans are lost")
}

func TestWhatIsNoVariablesValueIsSaid(t *testing.T) {
	t.Parallel()
	s := start(t, "OTEL_TRACES_EXPORTER=jaeger")
	s.Stderr.Line(t, "there are no traces", "use otlp or none")
}
