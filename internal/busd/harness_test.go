package busd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	serverName = "example.com"
	createPath = "/_modulebus/v1/ask/spam_checker/user_may_create_room"
	patience   = 30 * time.Second
)

// This program runs again as a module, as busd starts it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "module" {
		module(os.Args[2])
		return
	}
	goleak.VerifyTestMain(m)
}

// module is one that speaks the protocol itself: it refuses @evil. One that hangs never joins.
func module(how string) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	if how != "hangs" {
		defer join(os.Getenv("MODULEBUS_NATS_URL"), os.Getenv("MODULEBUS_CREDENTIALS"), os.Getenv("MODULEBUS_MODULE"), os.Getenv("MODULEBUS_WORKER"))()
	}
	<-told
}

// join serves a module's questions until leave.
func join(url, credentials, name, worker string) (leave func()) {
	server := subjects.For(serverName)
	nc, err := nats.Connect(url, nats.UserCredentials(credentials), nats.CustomInboxPrefix(server.Inbox(name, worker)))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	answer := func(m *nats.Msg) {
		req, reply := &callbacksv1.UserMayCreateRoomRequest{}, &callbacksv1.UserMayCreateRoomResponse{}
		_ = proto.Unmarshal(m.Data, req)
		if strings.HasPrefix(req.GetUserId(), "@evil") {
			reply.Refusal = &callbacksv1.Refusal{Errcode: "M_FORBIDDEN", Error: "no"}
		}
		data, _ := proto.Marshal(reply)
		_ = m.Respond(data)
	}
	_, _ = nc.QueueSubscribe(server.Callback(subjects.UserMayCreateRoom, name), subjects.Group(name), answer)
	_, _ = nc.Subscribe(server.WorkerAny(name, worker), answer)
	_ = nc.Flush()
	data, _ := proto.Marshal(&rosterv1.Join{Worker: worker, Callbacks: []string{subjects.UserMayCreateRoom.FullName()}})
	if _, err := nc.Request(server.Join(name), data, patience); err != nil {
		fmt.Println(err)
	}
	return func() {
		data, _ := proto.Marshal(&rosterv1.Leave{Worker: worker})
		_, _ = nc.Request(server.Leave(name), data, time.Second)
		nc.Close()
	}
}

// running is a busd under way.
type running struct {
	t      *testing.T
	url    string
	nats   string
	line   string
	reload chan busd.Reload
	log    *waittest.Log
	client *http.Client
	stop   func() error
	err    atomic.Pointer[error] // nil until it has ended
}

// failed is why it ended, nil if it runs.
func (r *running) failed() error {
	if err := r.err.Load(); err != nil {
		return *err
	}
	return nil
}

// parse reads a configuration with NATS inside, and free ports.
func parse(t *testing.T, dir, text string) *config.Config {
	t.Helper()
	all := "server_name: " + serverName + "\nnats: {listen: '127.0.0.1:-1'}\nhttp: {listen: '127.0.0.1:0'}\nstate_dir: '" + dir + "'\n" + text
	c, err := config.Parse("busd.yaml", []byte(all))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// entry lists a module that busd runs.
func entry(name, how string, more ...string) string {
	return fmt.Sprintf("  - module: %s\n    run: ['%s', module, %s]\n%s", name, os.Args[0], how, strings.Join(more, ""))
}

// launch starts busd, and does not wait.
func launch(t *testing.T, c *config.Config) (*running, <-chan string) {
	t.Helper()
	return launchWith(t, busd.Options{Config: c})
}

func launchWith(t *testing.T, o busd.Options) (*running, <-chan string) {
	t.Helper()
	r := &running{t: t, reload: make(chan busd.Reload), log: &waittest.Log{}, client: &http.Client{Transport: &http.Transport{}, Timeout: patience}}
	ctx, cancel := context.WithCancel(context.Background())
	said := make(chan string, 1)
	done := make(chan error, 1)
	o.Reload, o.Announce, o.Log = r.reload, announcement(said), zerolog.New(io.MultiWriter(r.log, zerolog.NewTestWriter(t)))
	go func() {
		err := busd.Run(ctx, o)
		r.err.Store(&err)
		done <- err
	}()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		if err := r.stop(); err != nil && !t.Failed() {
			t.Logf("busd: %v", err)
		}
	})
	return r, said
}

type announcement chan string

// Write implements [io.Writer].
func (a announcement) Write(line []byte) (int, error) {
	a <- string(line)
	return len(line), nil
}

var announced = regexp.MustCompile(`HTTP at (\S+), NATS at (\S+);`)

// serve starts busd and waits for its line.
func serve(t *testing.T, c *config.Config) *running {
	t.Helper()
	return serveWith(t, busd.Options{Config: c})
}

func serveWith(t *testing.T, o busd.Options) *running {
	t.Helper()
	r, said := launchWith(t, o)
	select {
	case r.line = <-said:
	case <-time.After(patience):
		t.Fatalf("busd announces nothing:\n%s", r.log)
	}
	m := announced.FindStringSubmatch(r.line)
	if m == nil {
		t.Fatalf("busd says %q", r.line)
	}
	r.url, r.nats = m[1], m[2]
	return r
}

func (r *running) do(method, path, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	rsp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rsp.Body.Close()
	out, err := io.ReadAll(rsp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return rsp.StatusCode, string(out)
}

// create asks whether a user may create a room.
func (r *running) create(user string) string {
	r.t.Helper()
	_, out := r.do("POST", createPath, `{"user_id":"@`+user+`:example.com"}`)
	return out
}

func (r *running) modules() (list operatordoor.ModuleList) {
	r.t.Helper()
	_, out := r.do("GET", "/_modulebus/v1/modules", "")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		r.t.Fatal(err)
	}
	return list
}

func stateDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state")
}
