package restarts_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// run runs a busd until the test, or the returned function, ends it.
func run(t *testing.T, file string) (stop func()) {
	t.Helper()
	c, err := config.Parse("busd.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- busd.Run(ctx, busd.Options{Config: c, Log: zerolog.Nop()}) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil // It may be called again.
	}
	t.Cleanup(stop)
	return stop
}

// joinOnce is a module that joins when it likes, and does not hear that its entry changed, as docs/protocol.md allows.
func joinOnce(t *testing.T, nc *nats.Conn, name string, refuses bool) {
	t.Helper()
	server := subjects.For(serverName)
	answer := &callbacksv1.UserMayCreateRoomResponse{}
	if refuses {
		answer.Refusal = &callbacksv1.Refusal{Errcode: "M_FORBIDDEN", Error: name}
	}
	reply, err := proto.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	subject := server.Callback(subjects.UserMayCreateRoom, name)
	if _, err := nc.QueueSubscribe(subject, name, func(m *nats.Msg) { _ = m.Respond(reply) }); err != nil { // The test says when nothing comes.
		t.Fatal(err)
	}
	join, err := proto.Marshal(&rosterv1.Join{Worker: name, Callbacks: []string{callback}})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "busd lets "+name+" join", func() bool {
		_, err := nc.Request(server.Join(name), join, time.Second)
		return err == nil
	})
}

func TestTheFirstAskAfterARestartIsDecidedWithAllModules(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	listen := free(t)
	file := fmt.Sprintf("server_name: %s\nstate_dir: %s\nnats: {url: %q}\nhttp: {listen: %s}\nmodules:\n", serverName, t.TempDir(), home.URL(), listen)
	const many = 50
	var list strings.Builder
	for i := range many {
		fmt.Fprintf(&list, "  - {module: m%d, on_failure: fail}\n", i)
	}
	file += list.String()
	stop := run(t, file)
	nc := natstest.Connect(t, home)
	for i := range many {
		joinOnce(t, nc, fmt.Sprint("m", i), i == many-1)
	}
	ask := func() (int, string) {
		resp, err := http.Post("http://"+listen+"/_modulebus/v1/ask/"+strings.ReplaceAll(callback, ".", "/"), "application/json", strings.NewReader(`{"user_id":"@a:b"}`))
		if err != nil {
			return 0, ""
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, ""
		}
		return resp.StatusCode, string(body)
	}
	decided := func() (body string) {
		await(t, "somebody answers", func() bool {
			var status int
			status, body = ask()
			return status == http.StatusOK || status == http.StatusBadGateway
		})
		return body
	}
	const last = `"decided_by":"m49"`
	await(t, "busd knows the modules", func() bool { return strings.Contains(decided(), last) })
	stop()
	start := time.Now()
	run(t, file)
	first := decided()
	t.Logf("%v from the start of busd to its first answer", time.Since(start))
	if !strings.Contains(first, last) {
		t.Errorf("the first answer is %s", first)
	}
}
