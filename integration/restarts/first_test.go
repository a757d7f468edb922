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

	"github.com/modulebus/modulebus/integration/testbed"
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
func joinOnce(t *testing.T, nc *nats.Conn, name string, answer nats.MsgHandler) {
	t.Helper()
	server := subjects.For(serverName)
	if _, err := nc.QueueSubscribe(server.Callback(subjects.UserMayCreateRoom, name), name, answer); err != nil {
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

// refusing answers with a refusal of the module's.
func refusing(t *testing.T, name string) nats.MsgHandler {
	t.Helper()
	reply, err := proto.Marshal(&callbacksv1.UserMayCreateRoomResponse{Refusal: &callbacksv1.Refusal{Errcode: "M_FORBIDDEN", Error: name}})
	if err != nil {
		t.Fatal(err)
	}
	return func(m *nats.Msg) { _ = m.Respond(reply) } // The test says when nothing comes.
}

// silent has no opinion, and mute says not even that.
func silent(m *nats.Msg) { _ = m.Respond(nil) }
func mute(*nats.Msg)     {}

// call calls a busd's door; the status is 0 when nobody answers.
func call(listen, path, body string) (status int, answer string) {
	method, content := http.MethodGet, io.Reader(nil)
	if body != "" {
		method, content = http.MethodPost, strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+listen+path, content)
	if err != nil {
		return 0, ""
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(all)
}

// decided is what is answered to an ask, as soon as there is a decision.
func decided(t *testing.T, listen string) (body string) {
	t.Helper()
	await(t, "there is a decision", func() bool {
		var status int
		status, body = call(listen, "/_modulebus/v1/ask/"+strings.ReplaceAll(callback, ".", "/"), `{"user_id":"@a:b"}`)
		return status == http.StatusOK || status == http.StatusBadGateway
	})
	return body
}

func TestFirstAskAfterARestartIsDecidedWithAllModules(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	listen := testbed.FreeAddress(t)
	file := fmt.Sprintf("server_name: %s\nstate_dir: %s\nnats: {url: %q}\nhttp: {listen: %s}\nmodules:\n", serverName, t.TempDir(), home.URL(), listen)
	const many = 50
	var list strings.Builder
	for i := range many {
		fmt.Fprintf(&list, "  - {module: m%d, on_failure: fail}\n", i)
	}
	file += list.String()
	stop := run(t, file)
	nc := natstest.Connect(t, home)
	for i := range many - 1 {
		joinOnce(t, nc, fmt.Sprint("m", i), silent)
	}
	joinOnce(t, nc, "m49", refusing(t, "m49"))
	const last = `"decided_by":"m49"`
	await(t, "busd knows the modules", func() bool { return strings.Contains(decided(t, listen), last) })
	stop()
	start := time.Now()
	run(t, file)
	first := decided(t, listen)
	t.Logf("%v from the start of busd to its first answer", time.Since(start))
	if !strings.Contains(first, last) {
		t.Errorf("the first answer is %s", first)
	}
}

func TestTypoInAConfigAndARestartDoNotOpenTheGate(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"named":      "callbacks: {user_may_create_room: {on_failure: refuse}}",
		"remembered": "on_failure: refuse",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listen, state := testbed.FreeAddress(t), t.TempDir()
			file := func(key string) string {
				return fmt.Sprintf("server_name: %s\nstate_dir: %s\nnats: {listen: 127.0.0.1:0}\nhttp: {listen: %s}\nmodules:\n"+
					"  - {module: gate, run: [env, %s=module, %s], config: {%s: \"\"}, %s}\n",
					serverName, state, listen, roleVariable, quoted(executable(t)), key, says)
			}
			if name == "remembered" {
				stop := run(t, file("deny"))
				await(t, "the module is ready", func() bool { status, _ := call(listen, "/readyz", ""); return status == http.StatusOK })
				stop()
			}
			run(t, file("denny"))
			got := decided(t, listen)
			for _, want := range []string{`"refusal"`, `"failures":[{"module":"gate","failure":"absent","policy":"refuse"}]`} {
				if !strings.Contains(got, want) {
					t.Errorf("the answer has no %s: %s", want, got)
				}
			}
			_, list := call(listen, "/_modulebus/v1/modules", "")
			for _, want := range []string{`"state":"failed"`, callback, "config refused: denny"} {
				if !strings.Contains(list, want) {
					t.Errorf("the list of modules has no %s: %s", want, list)
				}
			}
		})
	}
}

func TestModuleThatAnswersNothingIsNotReady(t *testing.T) {
	t.Parallel()
	home, listen := natstest.TCP(t), testbed.FreeAddress(t)
	run(t, fmt.Sprintf("server_name: %s\nstate_dir: %s\nnats: {url: %q}\nhttp: {listen: %s}\nmodules:\n"+
		"  - {module: gate, on_failure: skip, timeout: 20ms, breaker: {failures: 3, open: 1m}}\n", serverName, t.TempDir(), home.URL(), listen))
	joinOnce(t, natstest.Connect(t, home), "gate", mute)
	await(t, "the module is ready", func() bool { status, _ := call(listen, "/readyz", ""); return status == http.StatusOK })
	for !strings.Contains(decided(t, listen), "breaker_open") {
		t.Log("the module has had its time once more")
	}
	if status, body := call(listen, "/readyz", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, `"breaker_open":true`) {
		t.Errorf("/readyz says %d %s", status, body)
	}
	_, list := call(listen, "/_modulebus/v1/modules", "")
	for _, want := range []string{`"state":"ready"`, `"last_error":"` + callback + ": timeout", `"last_error_at":"2`, `"failing":[`} {
		if !strings.Contains(list, want) {
			t.Errorf("the list of modules has no %s: %s", want, list)
		}
	}
}
