package docs_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const protocol = "docs/protocol.md"

// TestProtocolMessages reads each message with the type that stands behind its fence, without a field too many.
func TestProtocolMessages(t *testing.T) {
	t.Parallel()
	for _, b := range blocks(t, "json", documents(t)...) {
		name, answer, isDecision := strings.Cut(b.info, " ")
		var err error
		switch {
		case isDecision:
			err = readDecision(b.text, answer)
		case name != "":
			err = readMessage(b.text, protoreflect.FullName(name))
		default:
			err = readJSON(b.text)
		}
		if err != nil {
			t.Errorf("%s: %s: %v\n%s", b.file, b.info, err, b.text)
		}
	}
}

func readMessage(text string, name protoreflect.FullName) error {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return err
	}
	return wire.FromJSON([]byte(text), kind.New().Interface(), true)
}

func readDecision(text, answer string) error {
	var d struct {
		Answer    json.RawMessage `json:"answer"`
		DecidedBy string          `json:"decided_by"`
		Failures  []struct{ Module, Failure, Policy string }
		Revision  uint64 `json:"roster_revision"`
		ID        string `json:"decision_id"`
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return err
	}
	return readMessage(string(d.Answer), protoreflect.FullName("modulebus.callbacks.v1."+answer))
}

// readJSON reads any number of values.
func readJSON(text string) error {
	for decoder := json.NewDecoder(strings.NewReader(text)); ; {
		var v any
		if err := decoder.Decode(&v); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestProtocolTokens(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, row := range rows(section(t, protocol, "## Subjects")) {
		token := coded(row[1])
		if token == nil {
			continue
		}
		text := append(coded(row[0]), "")[0]
		if got := subjects.Token(text); got != token[0] {
			t.Errorf("the token of %q is %q, not %q", text, got, token[0])
		}
		checked++
	}
	if checked < 5 {
		t.Errorf("found only %d tokens", checked)
	}
}

// TestProtocolSubjects compares the grammar with that of package subjects.
func TestProtocolSubjects(t *testing.T) {
	t.Parallel()
	inCode := alternatives(read(t, "subjects/doc.go"))
	if diff := cmp.Diff(inCode, alternatives(section(t, protocol, "## Subjects"))); diff != "" {
		t.Errorf("subjects/doc.go and %s differ (-code +document):\n%s", protocol, diff)
	}
}

var alternative = regexp.MustCompile(`(?m)^(?://\t)?(?:rest  |   )  +[=/] ("[^;]*?) *;`)

func alternatives(text string) (found []string) {
	for _, m := range alternative.FindAllStringSubmatch(text, -1) {
		found = append(found, strings.TrimSuffix(strings.TrimSuffix(strings.ReplaceAll(m[1], `worker ".>"`, `worker "."`), " *OCTET"), " "))
	}
	return found
}

const about = "modulebus.example%2Ecom."

// conversation is the one that docs/protocol.md describes, with a busd and under the permissions that it gives.
type conversation struct {
	*testing.T
	door       func() string // URL of the HTTP door
	homeserver *nats.Conn    // which may do everything
	module     *nats.Conn    // which may do what a module may
	refused    chan error    // what the module was not allowed
	reload     chan<- busd.Reload
}

func TestProtocolConversation(t *testing.T) {
	t.Parallel()
	c := converse(t)
	const callback, ask = "cb.spam_checker.user_may_create_room.", "ask.spam_checker.user_may_create_room"
	question := c.block("modulebus.callbacks.v1.UserMayCreateRoomRequest")

	// A module's life.
	c.same(c.block("modulebus.roster.v1.Entry"), c.request(c.module, "module.gate.entry", "{}"))
	questions, toWorker := c.subscribe(c.module, callback+"gate", "gate"), c.subscribe(c.module, "cb.*.*.gate.k3v9", "")
	pages := c.subscribe(c.module, "web.1.gate."+subjects.Token("/_synapse/client/gate"), "gate")
	changes := c.subscribe(c.module, "module.gate.changed", "")
	c.subscribe(c.module, "module.gate.cancel", "")
	c.subscribe(c.homeserver, callback+"slow", "slow") // It never answers.
	c.same(c.block("modulebus.roster.v1.Joined"), c.request(c.module, "module.gate.join", c.block("modulebus.roster.v1.Join")))
	c.request(c.homeserver, "module.slow.join", `{"worker": "1", "callbacks": ["spam_checker.user_may_create_room"]}`)

	// It hears of a change, in protobuf.
	c.reload <- busd.Reload{Config: c.config("1m")}
	for entry := (&rosterv1.Entry{}); entry.GetTimeoutMs() != 60_000; {
		c.must(proto.Unmarshal(c.next(changes).Data, entry))
	}
	c.settle()

	// It is asked.
	answered := c.concurrently(func() {
		m := c.next(questions)
		c.same(question, string(m.Data))
		c.reply(m, c.block("modulebus.callbacks.v1.UserMayCreateRoomResponse"), nats.Header{"Content-Type": {"application/json"}})
		if got := m.Header.Get("Content-Type"); got != "application/json" {
			c.Errorf("the question is %q", got)
		}
	})
	c.same(c.block("modulebus.roster.v1.Decision UserMayCreateRoomResponse"), c.request(c.homeserver, ask, question), "roster_revision", "decision_id")
	answered()

	// It fails.
	for _, kind := range []string{"error", "panic", "malformed", "timeout", "busy"} {
		failure := nats.Header{"Nats-Service-Error-Code": {kind}, "Nats-Service-Error": {"said the test"}}
		failed := c.concurrently(func() {
			c.reply(c.next(questions), "", failure)
			if kind == "busy" { // The next to be asked is a worker by its name.
				c.reply(c.next(toWorker), "", failure)
			}
		})
		if got := c.request(c.homeserver, ask, question); !strings.Contains(got, `"failure":"`+kind+`"`) {
			c.Errorf("a failure of kind %s: %s", kind, got)
		}
		failed()
	}

	// It serves a page.
	served := c.concurrently(func() {
		m := c.next(pages)
		c.isRequest(m.Data)
		c.reply(m, string(c.frame("response")), nil)
	})
	if got := c.get("/_synapse/client/gate?name=alice"); got != `{"hello":"alice"}` {
		c.Errorf("the page is %s", got)
	}
	served()
	c.isRequest(c.frame("request"))

	// It cannot hear what others are asked.
	c.subscribe(c.module, callback+"slow", "slow")
	if err := <-c.refused; !errors.Is(err, nats.ErrPermissionViolation) {
		c.Errorf("want a permission violation, not %v", err)
	}

	// It leaves.
	c.must(errors.Join(questions.Unsubscribe(), toWorker.Unsubscribe()))
	c.same(c.block("modulebus.roster.v1.Joined"), c.request(c.module, "module.gate.leave", c.block("modulebus.roster.v1.Leave")))
	c.same(c.block(""), c.request(c.homeserver, ask, question), "decision_id")

	// A homeserver gets the roster, and nothing when it has it.
	roster := &rosterv1.Roster{}
	c.must(proto.Unmarshal(c.raw("roster.get", "").Data, roster))
	if got := roster.GetModules(); len(got) != 2 || got[1].GetName() != "gate" || !got[1].GetJson() {
		c.Errorf("the roster has %v", got)
	}
	if m := c.raw("roster.get", strconv.FormatUint(roster.GetRevision(), 10)); len(m.Data) > 0 {
		c.Errorf("there is a later roster than the latest: %q", m.Data)
	}
	documented := documentedMetrics(t)
	delete(documented, "modulebus_shadow_decisions_total") // No module is in shadow here.
	if diff := cmp.Diff(documented, exposedMetrics(c.get("/metrics"))); diff != "" {
		c.Errorf("docs/operating.md and /metrics differ (-document +busd):\n%s", diff)
	}
}

// serverOptions reads the NATS configuration in the document.
func serverOptions(t *testing.T) *server.Options {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(conf, []byte(blocks(t, "conf", protocol)[0].text), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	return opts
}

// converse starts busd on a NATS server with the permissions of the document.
func converse(t *testing.T) *conversation {
	t.Helper()
	opts := serverOptions(t)
	opts.Host, opts.Port = "", 0 // Any free one of this machine.
	opts.JetStream, opts.StoreDir = true, t.TempDir()
	home := &natstest.Home{Servers: []*server.Server{natstest.Start(t, opts)}}
	reload := make(chan busd.Reload)
	c := &conversation{T: t, reload: reload, refused: make(chan error, 10)}
	first := c.config("1s")
	first.NATS = config.NATS{URL: strings.Replace(home.URL(), "://", "://busd:change-me-too@", 1)}
	first.Modules[1].Callbacks = map[string]config.Override{"spam_checker.user_may_create_room": {Timeout: 500 * time.Millisecond}}
	c.homeserver = natstest.Connect(t, home, nats.UserInfo("busd", "change-me-too"))
	c.module = natstest.Connect(t, home, nats.UserInfo("gate", "change-me"), nats.CustomInboxPrefix(about+"module.gate.inbox.k3v9"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.refused <- err }))
	c.door = serve(t, busd.Options{Config: first, Reload: reload})
	natstest.AwaitInterest(t, home, about+"module.gate.entry")
	return c
}

// What the page allows a module is what busd makes of the module's name.
func TestProtocolPermissionsAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	opts := serverOptions(t)
	gate := opts.Users[slices.IndexFunc(opts.Users, func(u *server.User) bool { return u.Username == "gate" })].Permissions
	want := subjects.For("example.com").ModulePermissions("gate")
	got := subjects.Permissions{Publish: gate.Publish.Allow, Subscribe: gate.Subscribe.Allow}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
		t.Errorf("the permissions of a module (-code +page):\n%s", diff)
	}
	if r := gate.Response; r.MaxMsgs != 1 || r.Expires < 24*time.Hour {
		t.Errorf("one answer may be given %d times within %v; want once, within a day", r.MaxMsgs, r.Expires)
	}
}

// config is the operator's, as the document tells it.
func (c *conversation) config(timeout string) *config.Config {
	c.Helper()
	got, err := config.Parse("busd.yaml", fmt.Appendf(nil, `
server_name: example.com
http: {listen: "127.0.0.1:0"}
modules:
  - {module: slow, on_failure: skip, timeout: 1ms, deliver: at_least_once}
  - {module: gate, timeout: %s, config: {deny: ["@evilguy:example.com"]}}
budget: 2m
`, timeout))
	c.must(err)
	return got
}

// serve runs busd until the test ends. What it returns waits for the one line, and returns the URL in it.
func serve(t *testing.T, o busd.Options) func() string {
	t.Helper()
	o.Log = zerolog.New(zerolog.NewTestWriter(t))
	o.Config.StateDir = "" // It forgets.
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	o.Announce = in
	var done sync.WaitGroup
	done.Go(func() {
		if err := busd.Run(ctx, o); err != nil {
			t.Error(err)
		}
		_ = in.Close()
	})
	t.Cleanup(func() { cancel(); _ = out.Close(); done.Wait() })
	return sync.OnceValue(func() string {
		line, err := bufio.NewReader(out).ReadString('\n')
		url := regexp.MustCompile(`http://[^\s,;]+`).FindString(line)
		if err != nil || url == "" {
			t.Errorf("busd said %q (%v)", line, err)
		}
		return url
	})
}

func (c *conversation) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// block is the first of the document with that behind its fence.
func (c *conversation) block(info string) string {
	c.Helper()
	all := blocks(c.T, "json", protocol)
	i := slices.IndexFunc(all, func(b block) bool { return b.info == info })
	if i < 0 {
		c.Fatalf("%s has no block %q", protocol, info)
	}
	return all[i].text
}

// frame is the bytes of a block in hexadecimal, with comments.
func (c *conversation) frame(info string) []byte {
	c.Helper()
	all := blocks(c.T, "hex", protocol)
	i := slices.IndexFunc(all, func(b block) bool { return b.info == info })
	text := regexp.MustCompile(`;.*|\s`).ReplaceAllString(all[i].text, "")
	frame, err := hex.DecodeString(text)
	c.must(err)
	return frame
}

// same compares JSON, but for some members of it.
func (c *conversation) same(want, got string, without ...string) {
	c.Helper()
	var a, b map[string]any
	if err := errors.Join(json.Unmarshal([]byte(want), &a), json.Unmarshal([]byte(got), &b)); err != nil {
		c.Errorf("%v in\n%s\nor\n%s", err, want, got)
	}
	for _, name := range without {
		delete(a, name)
		delete(b, name)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		c.Errorf("-document +real:\n%s", diff)
	}
}

// request asks in JSON, and returns the reply, which must be in JSON.
func (c *conversation) request(nc *nats.Conn, subject, body string) string {
	c.Helper()
	m, err := nc.RequestMsgWithContext(c.Context(), &nats.Msg{
		Subject: about + subject, Data: []byte(body), Header: nats.Header{"Content-Type": {"application/json"}},
	})
	c.must(err)
	if got := m.Header.Get("Content-Type"); got != "application/json" {
		c.Errorf("%s: the reply is %q", subject, got)
	}
	return string(m.Data)
}

// raw asks in protobuf.
func (c *conversation) raw(subject, body string) *nats.Msg {
	c.Helper()
	m, err := c.homeserver.RequestWithContext(c.Context(), about+subject, []byte(body))
	c.must(err)
	return m
}

func (c *conversation) subscribe(nc *nats.Conn, subject, group string) *nats.Subscription {
	c.Helper()
	sub, err := nc.QueueSubscribeSync(about+subject, group)
	c.must(errors.Join(err, nc.Flush()))
	return sub
}

func (c *conversation) next(sub *nats.Subscription) *nats.Msg {
	m, err := sub.NextMsgWithContext(c.Context())
	if err != nil {
		c.Error(err)
		return &nats.Msg{}
	}
	return m
}

func (c *conversation) reply(m *nats.Msg, data string, h nats.Header) {
	if err := m.RespondMsg(&nats.Msg{Data: []byte(data), Header: h}); err != nil {
		c.Error(err)
	}
}

// concurrently returns how to wait for what it starts.
func (c *conversation) concurrently(f func()) (wait func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return func() { <-done }
}

// settle returns when busd asks by the latest roster.
func (c *conversation) settle() {
	c.Helper()
	roster := &rosterv1.Roster{}
	c.must(proto.Unmarshal(c.raw("roster.get", "").Data, roster))
	c.get(fmt.Sprintf("/_modulebus/v1/wants?after=%d", roster.GetRevision()-1))
}

// get is the body of a page.
func (c *conversation) get(path string) string {
	c.Helper()
	rsp, err := http.Get(c.door() + path)
	c.must(err)
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	c.must(err)
	return string(body)
}

// isRequest reads a frame by nothing but the document.
func (c *conversation) isRequest(frame []byte) {
	c.Helper()
	number := func() int {
		v, n := binary.Uvarint(frame)
		frame = frame[max(n, 0):]
		return int(v)
	}
	text := func() string {
		n := min(number(), len(frame))
		s := string(frame[:n])
		frame = frame[n:]
		return s
	}
	if len(frame) < 2 || frame[0] != 0x11 || frame[1] != 0x01 {
		c.Errorf("no request begins with % x", frame[:min(2, len(frame))])
		return
	}
	frame = frame[2:]
	size, deadline, credit, length := number(), number(), number(), number()
	remote, scheme, method, authority, target := text(), text(), text(), text(), text()
	for range number() { // fields
		if name, value := text(), text(); name == "" || value == "" {
			c.Errorf("field %q: %q", name, value)
		}
	}
	trailers := number()
	got := []any{size, length, scheme, method, target, trailers, len(frame)}
	want := []any{0, 1, "http", "GET", "/_synapse/client/gate?name=alice", 0, size}
	if diff := cmp.Diff(want, got); diff != "" || deadline != 0 || credit == 0 || remote == "" || authority == "" {
		c.Errorf("%d ms, %d bytes for %s at %s (-want +got):\n%s", deadline, credit, remote, authority, diff)
	}
}
