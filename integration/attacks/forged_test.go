package attacks_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	hs "github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// homeserver serves the Module API, and remembers who called what.
type homeserver struct {
	mu    sync.Mutex
	calls map[string]int // by method
}

func serveAPI(t *testing.T, d *testbed.Daemon) (h *homeserver, stop func()) {
	t.Helper()
	client, err := hs.New(testbed.Bounded(t), d.ConnectHomeserver(nats.ReconnectBufSize(-1)), hs.Options{ServerName: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	h = &homeserver{calls: map[string]int{}}
	_, err = client.ServeCalls(func(_ context.Context, m *subjects.Method, _ proto.Message) (proto.Message, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.calls[m.Name]++
		return m.NewReply(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return h, client.Close
}

func (h *homeserver) called(m *subjects.Method) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls[m.Name]
}

// callsWhatItWasGranted calls each method of the Module API, as a module that was granted nothing, and as another one.
func callsWhatItWasGranted(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	h, stop := serveAPI(t, d)
	defer stop()
	file := d.Credentials(attacker)
	nc := d.ConnectModule(attacker)
	for _, m := range subjects.Methods() {
		may := m.Options.GetByDefault()
		if got := callsAs(t, nc, m); got != may || h.called(m) > 0 != may {
			t.Errorf("%s: called %v, %d times; want %v", m.Name, got, h.called(m), may)
		}
	}
	var others []attack
	for _, m := range subjects.Methods() {
		others = append(others, attack{callAPI, "call " + m.Name + " as the victim", publish(bus.API(m, victim))})
	}
	refused(t, func(o ...nats.Option) *nats.Conn { return d.ConnectWith(file, o...) }, others)
}

// callsAs calls a method as the attacker, and reports whether the homeserver did what was asked.
func callsAs(t *testing.T, nc *nats.Conn, m *subjects.Method) bool {
	t.Helper()
	reply, err := nc.RequestWithContext(testbed.Bounded(t), bus.API(m, attacker), nil)
	if err != nil {
		t.Fatal(err)
	}
	code := wire.Header(reply, wire.HeaderErrorCode)
	if code != "" && code != "403" {
		t.Errorf("%s: %s, %s", m.Name, code, reply.Data)
	}
	return code == ""
}

// saysNothingOutOfAStore has JetStream send what a module stored, and what JetStream says itself, to whoever would act on it:
// a question that kills its worker, the leave of all workers, and a roster in which the module grants itself everything.
func saysNothingOutOfAStore(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	h, stop := serveAPI(t, d)
	defer stop()
	before := d.Module(victim)
	nc := d.ConnectModule(attacker)
	bucket := bus.StoreBucket(attacker)
	if _, err := nc.RequestWithContext(testbed.Bounded(t), bus.Store(attacker), nil); err != nil {
		t.Fatal(err)
	}
	worker := before.Processes[0].Worker
	direct := "$JS.API.DIRECT.GET.KV_" + bucket + ".$KV." + bucket + ".k"
	for _, f := range []struct {
		message proto.Message
		to      []string
	}{
		{&callbacksv1.UserMayCreateRoomRequest{UserId: "@die:example.com"}, []string{
			bus.Callback(create, victim), bus.Worker(create, victim, worker), bus.Ask(create),
		}},
		{&rosterv1.Leave{Worker: worker}, []string{bus.Leave(victim)}},
		{&rosterv1.Join{Worker: "forged"}, []string{bus.Join(victim)}},
		{&rosterv1.Entry{}, []string{bus.Changed(victim)}},
		{&rosterv1.Roster{Revision: math.MaxInt64, Modules: []*rosterv1.Module{{Name: attacker, Grants: subjects.Scopes()}}}, []string{bus.RosterChanged()}},
	} {
		data, err := proto.Marshal(f.message)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range f.to {
			store(t, nc, "$KV."+bucket+".k", data)
			for _, subject := range []string{direct, "$JS.API.STREAM.INFO.KV_" + bucket, "$KV." + bucket + ".k", bus.Entry(attacker)} {
				if err := nc.PublishRequest(subject, to, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if _, err := nc.RequestWithContext(testbed.Bounded(t), "$JS.API.STREAM.INFO.KV_"+bucket, nil); err != nil { // All before it was done.
		t.Fatal(err)
	}
	asked(t, d)
	if after := d.Module(victim); after.Processes[0] != before.Processes[0] || after.Workers != before.Workers {
		t.Errorf("the victim was %+v, and is %+v", before, after)
	}
	for _, m := range subjects.Methods() {
		if !m.Options.GetByDefault() && callsAs(t, nc, m) {
			t.Errorf("the module has granted itself %s, which was called %d times", m.Name, h.called(m))
		}
	}
}

// store puts a value where it is read from, and waits until it is there.
func store(t *testing.T, nc *nats.Conn, key string, data []byte) {
	t.Helper()
	testbed.Eventually(t, "the value is stored", func() bool { // In a cluster, a node hears of a new stream later than who made it.
		reply, err := nc.RequestWithContext(testbed.Bounded(t), key, data)
		return err == nil && strings.Contains(string(reply.Data), `"seq"`)
	})
}

// answersNoOthersPage has a module that knows everything about a request for the page of another, and sends what a worker
// would.
func answersNoOthersPage(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	heard := spy(t, d, "webg.1.>")
	body, writing := io.Pipe()
	answered := make(chan string, 1)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL+"/_synapse/client/"+victim, body) // The URL is good.
		rsp, err := http.DefaultClient.Do(req)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer rsp.Body.Close()
		text, err := io.ReadAll(rsp.Body)
		answered <- rsp.Status + " " + string(text) + problem(err)
	}()
	m, err := heard.NextMsgWithContext(testbed.Bounded(t)) // The worker has it, and waits for the body.
	if err != nil {
		t.Fatal(err)
	}
	nc := d.ConnectModule(attacker)
	for _, forged := range forgedFrames(m) {
		if err := nc.PublishMsg(forged); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil || nc.LastError() != nil {
		t.Fatalf("the frames did not leave: %v, %v", err, nc.LastError())
	}
	if _, err := io.WriteString(writing, "hello"); err != nil {
		t.Fatal(err)
	}
	_ = writing.Close() // It never fails.
	if got := <-answered; got != "200 OK {\"bytes\":5}\n" {
		t.Errorf("the client was answered %q", got)
	}
}

// spy hears what is said on the bus.
func spy(t *testing.T, d *testbed.Daemon, what string) *nats.Subscription {
	t.Helper()
	return listen(t, d.Connect(), []string{strings.Replace(bus.AskAny(), "ask.*.*", what, 1)})[0]
}

func problem(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// forgedFrames are what could disturb the stream that a frame belongs to, on all subjects that the attacker may publish to.
func forgedFrames(m *nats.Msg) (all []*nats.Msg) {
	own := strings.Replace(m.Subject, ".webg.1."+victim+".", ".webg.1."+attacker+".", 1)
	end := strings.LastIndexByte(own, '.')
	bare, _, _ := strings.Cut(own, "-"+victim)
	_, token := subjects.StreamOf(m.Reply)
	unheard := nats.Header{"Status": {"503"}, "Nats-Subject": {m.Reply}}
	for _, subject := range []string{own, bare, bare + "-" + attacker, own[:end] + "._ctl"} {
		for _, f := range []frame.Frame{
			&frame.Response{Status: http.StatusOK, ContentLength: 6, Body: []byte("forged")},
			&frame.Reset{Code: frame.CodeAborted, Status: http.StatusBadGateway, Text: "forged"},
			&frame.Pong{States: []frame.State{{Token: token, Gone: true}}},
		} {
			for _, reply := range []string{"", m.Reply} {
				all = append(all, &nats.Msg{Subject: subject, Reply: reply, Data: frame.Append(nil, f)})
			}
		}
		all = append(all, &nats.Msg{Subject: subject, Header: unheard}, &nats.Msg{Subject: subject, Header: nats.Header{wire.HeaderErrorCode: {"busy"}}})
	}
	return all
}

// answersNothingForAnother has a module that knows where an answer of another is waited for.
func answersNothingForAnother(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	heard := spy(t, d, "cb.>")
	answered := make(chan testbed.Verdict, 1)
	go func() {
		v, err := d.TryCreate("@alice:example.com")
		if err != nil {
			t.Error(err)
		}
		answered <- v
	}()
	question, err := heard.NextMsgWithContext(testbed.Bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	nc := d.ConnectModule(attacker, nats.NoReconnect())
	refusal, err := proto.Marshal(&callbacksv1.UserMayCreateRoomResponse{Refusal: &callbacksv1.Refusal{Errcode: "M_FORGED"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish(question.Reply, refusal); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil || !errors.Is(nc.LastError(), nats.ErrPermissionViolation) {
		t.Errorf("it could answer (%v, %v)", err, nc.LastError())
	}
	if v := <-answered; v.Refused() {
		t.Errorf("the asker was told %v", v)
	}
}
