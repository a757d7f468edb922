package door_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/busd/supervise"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// TestMain passes over connections that net/http has closed: it stays with each for half a second, which is longer than goleak
// waits.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const (
	serverName = "example.com"
	createPath = "/_modulebus/v1/ask/spam_checker/user_may_create_room"
	patience   = 30 * time.Second
)

var names = subjects.For(serverName)

// house is what is behind the doors: a module "gate" on a real NATS, a roster and a client.
type house struct {
	t        *testing.T
	nc       *nats.Conn
	roster   *roster.Roster
	service  *roster.Service
	client   *bus.Client
	answerer *door.Answerer
	log      waittest.Log // of the answerer
	records  *records.Recorder
	life     *door.Life
	alive    bool
	trouble  string        // of NATS
	asked    chan struct{} // has an entry for each question that the module got
	hold     chan struct{} // questions about @slow are answered when it is closed
}

// newHouse has the module refuse @evil, fail for @error, and take its time for @slow.
func newHouse(t *testing.T) *house {
	t.Helper()
	home := natstest.InProcess(t)
	h := &house{
		t: t, nc: natstest.Connect(t, home), roster: roster.New(), records: records.New(), life: door.NewLife(), alive: true,
		asked: make(chan struct{}, 4096), hold: make(chan struct{}),
	}
	h.configure("{module: gate, timeout: 1m}")
	var err error
	h.service, err = roster.Serve(h.nc, serverName, h.roster, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.service.Close)
	worker := natstest.Connect(t, home)
	if _, err := worker.Subscribe(names.Callback(subjects.UserMayCreateRoom, "gate"), func(m *nats.Msg) { go h.answer(m) }); err != nil {
		t.Fatal(err)
	}
	if err := worker.Flush(); err != nil {
		t.Fatal(err)
	}
	h.join("gate", subjects.UserMayCreateRoom.FullName())
	h.service.Wake()
	if h.client, err = bus.New(t.Context(), h.nc, bus.Options{ServerName: serverName, Observe: h.records.Observe}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.client.Close)
	h.answerer = door.NewAnswerer(h.client, zerolog.New(&h.log))
	h.awaitRoster()
	return h
}

func (h *house) configure(modules string) {
	h.t.Helper()
	c, err := config.Parse("busd.yaml", fmt.Appendf(nil, "server_name: %s\nbudget: 2m\nmodules: [%s]\n", serverName, modules))
	if err != nil {
		h.t.Fatal(err)
	}
	h.roster.Configure(c.Modules, c.Budget, time.Now())
}

func (h *house) join(module string, callbacks ...string) {
	h.roster.Join(module, &rosterv1.Join{Worker: "1", Callbacks: callbacks}, time.Now())
}

// awaitRoster waits until the client knows what the roster does.
func (h *house) awaitRoster() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	if _, err := h.client.AwaitRoster(ctx, h.roster.Snapshot().GetRevision()-1); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) answer(m *nats.Msg) {
	h.asked <- struct{}{}
	req := &callbacksv1.UserMayCreateRoomRequest{}
	_ = proto.Unmarshal(m.Data, req)
	reply := &callbacksv1.UserMayCreateRoomResponse{}
	switch req.GetUserId() {
	case "@evil:example.com":
		reply.Refusal = &callbacksv1.Refusal{Errcode: "M_FORBIDDEN", Error: "no"}
	case "@error:example.com":
		_ = m.RespondMsg(&nats.Msg{Header: nats.Header{"Nats-Service-Error-Code": {"error"}, "Nats-Service-Error": {"broken"}}})
		return
	case "@slow:example.com":
		<-h.hold
	}
	data, err := proto.Marshal(reply)
	if err != nil {
		h.t.Error(err)
	}
	_ = m.Respond(data)
}

// httpDoor is an open HTTP door, and a client of it.
type httpDoor struct {
	*door.HTTP
	*house
	url    string
	client *http.Client
}

func (h *house) openHTTP(c config.HTTP) *httpDoor {
	h.t.Helper()
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:0")
	return h.openWith(h.options(c))
}

func (h *house) openWith(o door.HTTPOptions) *httpDoor {
	h.t.Helper()
	d := &httpDoor{house: h, client: &http.Client{Transport: &http.Transport{}, Timeout: patience}}
	d.HTTP = door.NewHTTP(o)
	if err := d.Open(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(d.Close)
	h.t.Cleanup(d.client.CloseIdleConnections)
	d.url = "http://" + d.Addr()
	return d
}

func (h *house) options(c config.HTTP) door.HTTPOptions {
	guard, err := access.NewGuard(serverName, c, zerolog.Nop())
	if err != nil {
		h.t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(h.answerer)
	return door.HTTPOptions{
		ServerName: serverName,
		Config:     c, Answerer: h.answerer, Client: h.client, Roster: h.roster, Metrics: metrics,
		Processes: processes{}, Records: h.records, ConfigStatus: func() door.ConfigStatus { return door.ConfigStatus{Error: "a mistake"} },
		Life: h.life, Guard: guard, Alive: func() bool { return h.alive }, Trouble: func() string { return h.trouble }, Log: zerolog.New(zerolog.NewTestWriter(h.t)),
	}
}

// processes are those of a module "gate" that has one.
type processes struct{}

// Processes implements [door.Processes].
func (processes) Processes(module string) []supervise.Process {
	if module != "gate" {
		return nil
	}
	last := &supervise.Exit{Err: errors.New("exit status 1")}
	return []supervise.Process{{Worker: supervise.Worker{ID: "1", PID: 4711}, Started: time.Now(), Ends: 1, Last: last}}
}

// Restart implements [door.Processes].
func (processes) Restart(_ context.Context, module string) error {
	if module != "gate" {
		return errors.New("busd does not run it")
	}
	return nil
}

// begun is an open HTTP door of a busd that answers.
func begun(t *testing.T) *httpDoor {
	t.Helper()
	d := newHouse(t).openHTTP(config.HTTP{})
	d.life.Begin()
	return d
}

// do returns the response, and its body.
func (d *httpDoor) do(method, path string, body []byte, header ...string) (*http.Response, []byte) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rsp, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer rsp.Body.Close()
	out, err := io.ReadAll(rsp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return rsp, out
}

func user(name string) []byte { return []byte(`{"user_id":"@` + name + `:example.com"}`) }

// errcode is what a Matrix error says.
func errcode(t *testing.T, body []byte) string {
	t.Helper()
	var e struct{ Errcode, Error string }
	if err := json.Unmarshal(body, &e); err != nil || e.Error == "" {
		t.Errorf("%s is no Matrix error: %v", body, err)
	}
	return e.Errcode
}

// wants sees to the status and the error code of a response.
func wants(t *testing.T, rsp *http.Response, body []byte, status int, code string) {
	t.Helper()
	if rsp.StatusCode != status {
		t.Errorf("answered %s: %.200s; want %d", rsp.Status, body, status)
	} else if got := errcode(t, body); got != code {
		t.Errorf("error code %s; want %s", got, code)
	}
}

// within fails the test if the function does not return.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s takes too long", what)
	}
}

func tokenFile(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// release lets the module answer the slow questions.
func (h *house) release() func() { return sync.OnceFunc(func() { close(h.hold) }) }
