// Package doortest provides what tests of doors need behind a door: a module on a real NATS, a roster, a client, and
// what busd's HTTP server needs.
package doortest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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
	"github.com/modulebus/modulebus/internal/busd/door/antispamdoor"
	"github.com/modulebus/modulebus/internal/busd/door/askdoor"
	"github.com/modulebus/modulebus/internal/busd/door/httpdoor"
	"github.com/modulebus/modulebus/internal/busd/door/natsdoor"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/busd/supervise"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Main runs the tests of a package, and fails if a goroutine is left. It passes over connections that net/http has closed: net/http stays
// with each for half a second, which is longer than goleak waits.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// What tests share.
const (
	ServerName = "example.com"
	CreatePath = "/_modulebus/v1/ask/spam_checker/user_may_create_room"
	Patience   = 2 * time.Minute
)

// Names are the subjects of the homeserver.
var Names = subjects.For(ServerName)

// Stage is what is behind the doors: a module "gate" on a real NATS, a roster and a client.
type Stage struct {
	T        *testing.T
	NC       *nats.Conn
	Roster   *roster.Roster
	Service  *roster.Service
	Client   *bus.Client
	Answerer *door.Answerer
	Log      waittest.Log // of the answerer
	Records  *records.Recorder
	Life     *door.Life
	Alive    bool
	Trouble  string        // of NATS
	Asked    chan struct{} // has an entry for each question that the module got
	hold     chan struct{} // questions about @slow are answered when it is closed
}

// New returns a stage whose module refuses @evil, fails for @error, and answers for @slow only after Release.
func New(t *testing.T) *Stage {
	t.Helper()
	home := natstest.InProcess(t)
	s := &Stage{
		T: t, NC: natstest.Connect(t, home), Roster: roster.New(), Records: records.New(), Life: door.NewLife(), Alive: true,
		Asked: make(chan struct{}, 4096), hold: make(chan struct{}),
	}
	s.Configure("{module: gate, timeout: 1m}")
	var err error
	s.Service, err = roster.Serve(s.NC, ServerName, s.Roster, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Service.Close)
	worker := natstest.Connect(t, home)
	if _, err := worker.Subscribe(Names.Callback(subjects.UserMayCreateRoom, "gate"), func(m *nats.Msg) { go s.answer(m) }); err != nil {
		t.Fatal(err)
	}
	if err := worker.Flush(); err != nil {
		t.Fatal(err)
	}
	s.Join("gate", subjects.UserMayCreateRoom.FullName())
	s.Service.Wake()
	if s.Client, err = bus.New(t.Context(), s.NC, bus.Options{ServerName: ServerName, Observe: s.Records.Observe}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Client.Close)
	s.Answerer = door.NewAnswerer(s.Client, zerolog.New(&s.Log))
	s.AwaitRoster()
	return s
}

// Configure replaces the list of modules, in YAML.
func (s *Stage) Configure(modules string) {
	s.T.Helper()
	c, err := config.Parse("busd.yaml", fmt.Appendf(nil, "server_name: %s\nbudget: 2m\nmodules: [%s]\n", ServerName, modules))
	if err != nil {
		s.T.Fatal(err)
	}
	s.Roster.Configure(c.Modules, c.Budget, time.Now())
}

// Join has a worker of a module join.
func (s *Stage) Join(module string, callbacks ...string) {
	s.Roster.Join(module, &rosterv1.Join{Worker: "1", Callbacks: callbacks}, time.Now())
}

// AwaitRoster waits until the client knows what the roster does.
func (s *Stage) AwaitRoster() {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(s.T.Context(), Patience)
	defer cancel()
	if _, err := s.Client.AwaitRoster(ctx, s.Roster.Snapshot().GetRevision()-1); err != nil {
		s.T.Fatal(err)
	}
}

func (s *Stage) answer(m *nats.Msg) {
	s.Asked <- struct{}{}
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
		<-s.hold
	}
	data, err := proto.Marshal(reply)
	if err != nil {
		s.T.Error(err)
	}
	_ = m.Respond(data)
}

// HTTP is an open HTTP door, and a client of it.
type HTTP struct {
	*httpdoor.Door
	*Stage
	URL     string
	Browser *http.Client
}

// Serve opens an HTTP door with all doors for asks over HTTP, and the operators' door. If c does not say where, it
// listens on loopback.
func (s *Stage) Serve(c config.HTTP) *HTTP {
	s.T.Helper()
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:0")
	return s.ServeWith(s.Options(c))
}

// ServeWith opens an HTTP door until the test ends.
func (s *Stage) ServeWith(o httpdoor.Options) *HTTP {
	s.T.Helper()
	d := &HTTP{Stage: s, Browser: &http.Client{Transport: &http.Transport{}, Timeout: Patience}}
	d.Door = httpdoor.New(o)
	if err := d.Open(); err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(d.Close)
	s.T.Cleanup(d.Browser.CloseIdleConnections)
	d.URL = "http://" + d.Addr()
	return d
}

// Options are those of an HTTP door.
func (s *Stage) Options(c config.HTTP) httpdoor.Options {
	guard, err := access.NewGuard(ServerName, c, zerolog.Nop())
	if err != nil {
		s.T.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(s.Answerer)
	log := zerolog.New(zerolog.NewTestWriter(s.T))
	return httpdoor.Options{
		Config: c, Client: s.Client, Life: s.Life, Guard: guard, Log: log,
		Doors: []door.Served{
			askdoor.New(askdoor.Options{ServerName: ServerName, Answerer: s.Answerer, Client: s.Client, Life: s.Life, Log: log}),
			antispamdoor.New(antispamdoor.Options{ServerName: ServerName, Answerer: s.Answerer, Life: s.Life, Log: log}),
			operatordoor.New(operatordoor.Options{
				Client: s.Client, Roster: s.Roster, Metrics: metrics, Processes: processes{}, Records: s.Records,
				ConfigStatus: func() operatordoor.ConfigStatus { return operatordoor.ConfigStatus{Error: "a mistake"} },
				Life:         s.Life, Guard: guard, Alive: func() bool { return s.Alive }, Trouble: func() string { return s.Trouble },
			}),
		},
	}
}

// processes has one process, of the module "gate".
type processes struct{}

// Processes implements [operatordoor.Processes].
func (processes) Processes(module string) []supervise.Process {
	if module != "gate" {
		return nil
	}
	last := &supervise.Exit{Err: errors.New("exit status 1")}
	return []supervise.Process{{Worker: supervise.Worker{ID: "1", PID: 4711}, Started: time.Now(), Ends: 1, Last: last}}
}

// Restart implements [operatordoor.Processes].
func (processes) Restart(_ context.Context, module string) error {
	if module != "gate" {
		return errors.New("busd does not run it")
	}
	return nil
}

// Begun is an open HTTP door of a busd that answers.
func Begun(t *testing.T) *HTTP {
	t.Helper()
	d := New(t).Serve(config.HTTP{})
	d.Life.Begin()
	return d
}

// BegunWith is Begun with another list of modules, in YAML.
func BegunWith(t *testing.T, modules string) *HTTP {
	t.Helper()
	s := New(t)
	s.Configure(modules)
	s.Service.Wake()
	s.AwaitRoster()
	d := s.Serve(config.HTTP{})
	d.Life.Begin()
	return d
}

// Do returns the response, and its body.
func (d *HTTP) Do(method, path string, body []byte, header ...string) (*http.Response, []byte) {
	d.T.Helper()
	req, err := http.NewRequestWithContext(d.T.Context(), method, d.URL+path, bytes.NewReader(body))
	if err != nil {
		d.T.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rsp, err := d.Browser.Do(req)
	if err != nil {
		d.T.Fatal(err)
	}
	defer rsp.Body.Close()
	out, err := io.ReadAll(rsp.Body)
	if err != nil {
		d.T.Fatal(err)
	}
	return rsp, out
}

// User is a question about a user.
func User(name string) []byte { return []byte(`{"user_id":"@` + name + `:example.com"}`) }

// Errcode is what a Matrix error says.
func Errcode(t *testing.T, body []byte) string {
	t.Helper()
	var e struct {
		Errcode string `json:"errcode"`
		Error   string `json:"error"`
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Error == "" {
		t.Errorf("%s is no Matrix error: %v", body, err)
	}
	return e.Errcode
}

// Wants fails the test unless the response has the status and the error code.
func Wants(t *testing.T, rsp *http.Response, body []byte, status int, code string) {
	t.Helper()
	if rsp.StatusCode != status {
		t.Errorf("answered %s: %.200s; want %d", rsp.Status, body, status)
	} else if got := Errcode(t, body); got != code {
		t.Errorf("error code %s; want %s", got, code)
	}
}

// Within fails the test if the function does not return.
func Within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(Patience):
		t.Fatalf("%s takes too long", what)
	}
}

// TokenFile is a file with a token.
func TokenFile(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Release lets the module answer the slow questions.
func (s *Stage) Release() func() { return sync.OnceFunc(func() { close(s.hold) }) }

// Raw sends text over a connection of its own, closes this side of it, and returns all that comes back.
func (d *HTTP) Raw(text string) string {
	d.T.Helper()
	c, err := (&net.Dialer{}).DialContext(d.T.Context(), "tcp", d.Addr())
	if err != nil {
		d.T.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
		d.T.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		d.T.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		d.T.Fatal(err)
	}
	out, err := io.ReadAll(c)
	if err != nil {
		d.T.Fatal(err)
	}
	return string(out)
}

// OpenNATS opens the door over NATS until the test ends.
func (s *Stage) OpenNATS() *natsdoor.Door {
	s.T.Helper()
	d := natsdoor.New(s.NC, ServerName, s.Answerer, zerolog.New(zerolog.NewTestWriter(s.T)))
	if err := d.Open(); err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(d.Close)
	return d
}

// AskNATS asks over NATS, and returns the answer.
func (s *Stage) AskNATS(data []byte, header nats.Header) *nats.Msg {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(s.T.Context(), Patience)
	defer cancel()
	m, err := s.NC.RequestMsgWithContext(ctx, &nats.Msg{Subject: Names.Ask(subjects.UserMayCreateRoom), Data: data, Header: header})
	if err != nil {
		s.T.Fatal(err)
	}
	return m
}
