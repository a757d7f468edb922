package busd_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/redact/redacttest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// TestDeclaredSecretsAreNeverSaid asks every callback with a seed in every field, of a module that repeats them in each way
// that there is to answer and to fail, and looks for them in all that busd says about it.
func TestDeclaredSecretsAreNeverSaid(t *testing.T) {
	t.Parallel()
	spans := collectSpans(t)
	d := testbed.Prepare(t, "modules:\n  - {module: gossip, timeout: 300ms}\ndecisions: {requests: true}\n", "--log-level", "trace")
	d.With("OTEL_EXPORTER_OTLP_ENDPOINT="+spans.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_TRACES_SAMPLER=always_on", "OTEL_BSP_MAX_QUEUE_SIZE=100000")
	d.Start()
	d.Announced()
	g := gossipAt(t, d)
	var said sync.Map // what HTTP answered, by what was asked
	for _, mood := range moods {
		g.join()
		g.mood.Store(&mood)
		g.each(func(q *question) { said.Store(mood.name+" "+q.FullName(), g.ask(q, q.body)) })
	}
	g.each(func(q *question) {
		for _, body := range q.broken() {
			said.Store("broken "+q.FullName()+string(body), g.ask(q, body))
		}
	})
	for _, q := range g.questions {
		if len(q.seeds.Secret) > 0 {
			_, stdout, stderr := testbed.Run(t, "ask", "--explain", "--url", d.URL, q.FullName(), string(q.body))
			said.Store("busd ask --explain "+q.FullName(), stdout+stderr)
		}
	}
	for _, path := range []string{"/_modulebus/v1/modules", "/_modulebus/v1/wants", "/metrics", "/readyz", "/_modulebus/"} {
		_, out := d.Request(http.MethodGet, path, nil)
		said.Store(path, string(out))
	}
	_, records := d.Request(http.MethodGet, "/_modulebus/v1/decisions?limit=10000", nil)
	said.Store("the records", string(records))
	d.Stop()
	said.Store("the log", string(d.Stderr.Bytes()))
	said.Store("the spans", spans.said())
	for _, q := range g.questions {
		said.Range(func(where, text any) bool {
			q.unsaid(t, where.(string), text.(string))
			return true
		})
	}
	contains(t, "the log", string(d.Stderr.Bytes()), "module failed")
	contains(t, "the spans", spans.said(), "user_may_create_room", "panic")
	contains(t, "the records", string(records), "[redacted]", "open-", `"failure":"panic"`, `"said":"refusal"`)
}

// collector keeps what it is sent of spans, as protobuf has it: texts as they are.
type collector struct {
	*httptest.Server

	mu   sync.Mutex
	sent bytes.Buffer
}

func collectSpans(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, _ = c.sent.ReadFrom(r.Body) // What is lacking is not looked for.
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent.String()
}

// question is one callback, and what is asked.
type question struct {
	*subjects.Declaration
	seeds redacttest.Seeds
	body  []byte
}

// unsaid wants a text to have none of the secrets.
func (q *question) unsaid(t *testing.T, where, text string) {
	t.Helper()
	for _, word := range q.seeds.Secret {
		if i := strings.Index(text, word); i >= 0 {
			t.Errorf("%s has %s: …%s…", where, word, text[max(0, i-200):min(len(text), i+200)])
		}
	}
}

// broken are bodies in which one value has another type than it should have, or that end too early.
func (q *question) broken() (all [][]byte) {
	var whole any
	_ = json.Unmarshal(q.body, &whole) // It was made here.
	for _, v := range mistyped(whole) {
		body, _ := json.Marshal(v) // As above.
		all = append(all, body)
	}
	return append(all, q.body[:len(q.body)-2], append(bytes.Clone(q.body[:len(q.body)-1]), "\xff"...))
}

// mistyped are copies of a value in each of which one thing has another type.
func mistyped(v any) (all []any) {
	object, ok := v.(map[string]any)
	if !ok {
		return []any{[]any{map[string]any{"x": v}}, map[string]any{"x": v}}
	}
	for name, member := range object {
		for _, wrong := range mistyped(member) {
			other := maps.Clone(object)
			other[name] = wrong
			all = append(all, other)
		}
	}
	text, _ := json.Marshal(object) // It was JSON.
	return append(all, string(text))
}

// gossip is a module that registers everything, and tells in its answers what it was asked.
type gossip struct {
	*testing.T
	daemon    *testbed.Daemon
	nc        *nats.Conn
	server    subjects.Server
	questions []*question
	mood      atomic.Pointer[mood]
}

// mood is how the module answers: nothing at all where there is neither header nor data.
type mood struct {
	name  string
	reply func(q *question) *nats.Msg
}

func failing(kind string) func(*question) *nats.Msg {
	return func(q *question) *nats.Msg {
		return &nats.Msg{Header: nats.Header{wire.HeaderErrorCode: {kind}, wire.HeaderError: {"no " + strings.Join(q.seeds.Secret, " ")}}}
	}
}

func answering(data func(q *question) string) func(*question) *nats.Msg {
	return func(q *question) *nats.Msg {
		return &nats.Msg{Header: nats.Header{"Content-Type": {wire.JSONType}}, Data: []byte(data(q))}
	}
}

var moods = []mood{
	{"refusal", answering(func(q *question) string {
		text := strings.Join(q.seeds.Secret, " ")
		refusal, _ := json.Marshal(map[string]any{"refusal": map[string]any{"errcode": "M_" + text, "error": text}}) // It cannot fail.
		if !q.CanRefuse() {
			return "{}"
		}
		return string(refusal)
	})},
	{"error", failing("error")},
	{"panic", failing("panic")},
	{"malformed", failing("malformed")},
	{"busy", failing("busy")},
	{"late", failing("timeout")},
	{"no JSON", answering(func(q *question) string { return `{"` + strings.Join(q.seeds.Secret, " ") })},
	{"wrong types", answering(func(q *question) string {
		text := strings.Join(q.seeds.Secret, " ")
		wrong := map[string]any{text: text}
		for i := range q.NewReply().ProtoReflect().Descriptor().Fields().Len() {
			wrong[string(q.NewReply().ProtoReflect().Descriptor().Fields().Get(i).Name())] = []any{map[string]string{text: text}}
		}
		out, _ := json.Marshal(wrong) // It cannot fail.
		return string(out)
	})},
	{"silent", func(*question) *nats.Msg { return nil }},
}

const gossipWorker = "w"

func gossipAt(t *testing.T, d *testbed.Daemon) *gossip {
	t.Helper()
	g := &gossip{T: t, daemon: d, nc: d.ConnectModule("gossip"), server: subjects.For("example.com")}
	g.mood.Store(&moods[0])
	for _, c := range subjects.All() {
		g.questions = append(g.questions, questionOf(t, c))
	}
	for _, q := range g.questions {
		for _, group := range []string{subjects.Group("gossip"), ""} {
			subject := g.server.Callback(q.Declaration, "gossip")
			if group == "" {
				subject = g.server.Worker(q.Declaration, "gossip", gossipWorker)
			}
			if _, err := g.nc.QueueSubscribe(subject, group, func(m *nats.Msg) { g.answer(q, m) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	return g
}

func questionOf(t *testing.T, c *subjects.Declaration) *question {
	t.Helper()
	q, req := &question{Declaration: c}, c.NewRequest()
	q.seeds = redacttest.Fill(req, c.Name)
	if f := declared.Of(c).ToModule; f != nil {
		req.ProtoReflect().Set(f, protoreflect.ValueOfString("gossip"))
	}
	if f := declared.Of(c).ToWorker; f != nil {
		req.ProtoReflect().Set(f, protoreflect.ValueOfString(gossipWorker))
	}
	var err error
	if q.body, err = wire.ToJSON(req); err != nil {
		t.Fatal(err)
	}
	return q
}

func (g *gossip) answer(q *question, m *nats.Msg) {
	if reply := g.mood.Load().reply(q); reply != nil {
		_ = m.RespondMsg(reply) // Nobody waits where it fails.
	}
}

// join says what the module registers, and waits until it is asked.
func (g *gossip) join() {
	g.Helper()
	join := map[string]any{"worker": gossipWorker, "json": true}
	var names []string
	needs := map[string]any{}
	for _, q := range g.questions {
		names = append(names, q.FullName())
		if key := declared.Of(q.Declaration).Key; key != nil {
			needs[q.FullName()] = map[string]any{"keys": []any{map[string]any{"value": q.key(), "fields": []string{"member"}}}}
		}
	}
	join["callbacks"], join["needs"] = names, needs
	body, err := json.Marshal(join)
	if err != nil {
		g.Fatal(err)
	}
	m := &nats.Msg{Subject: g.server.Join("gossip"), Header: nats.Header{"Content-Type": {wire.JSONType}}, Data: body}
	reply, err := g.nc.RequestMsgWithContext(testbed.Bounded(g.T), m)
	if err != nil || bytes.Contains(reply.Data, []byte("problems\":[\"")) {
		g.Fatalf("the module cannot join: %v %s", err, reply.Data)
	}
	testbed.Eventually(g.T, "the module is ready", func() bool { return g.daemon.Module("gossip").State == "ready" })
}

// key is the value of the request that a module registers for.
func (q *question) key() string {
	req := q.NewRequest()
	_ = wire.FromJSON(q.body, req, false) // It was made here.
	return req.ProtoReflect().Get(declared.Of(q.Declaration).Key).String()
}

// each does something with every question, all at once.
func (g *gossip) each(do func(*question)) {
	var doing sync.WaitGroup
	for _, q := range g.questions {
		doing.Go(func() { do(q) })
	}
	doing.Wait()
}

// ask asks over HTTP, and returns what busd says beside the module's answer, which is the asker's own.
func (g *gossip) ask(q *question, body []byte) string {
	rsp, out, err := g.daemon.Try(http.MethodPost, "/_modulebus/v1/ask/"+strings.Replace(q.FullName(), ".", "/", 1), body)
	if err != nil {
		g.Error(err)
		return ""
	}
	var decision map[string]json.RawMessage
	if rsp.StatusCode != http.StatusOK || json.Unmarshal(out, &decision) != nil {
		return string(out)
	}
	delete(decision, "answer")
	rest, _ := json.Marshal(decision) // It was JSON.
	return string(rest)
}
