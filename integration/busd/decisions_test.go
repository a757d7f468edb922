package busd_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/subjects"
)

// rooms is a homeserver that has what modules post.
func rooms(t *testing.T) (url string, posted <-chan string) {
	t.Helper()
	texts := make(chan string, 16)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call struct {
			Event struct {
				RoomID  string `json:"room_id"`
				Content struct{ Body string }
			} `json:"event_dict"`
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &call); err != nil || !strings.HasSuffix(r.URL.Path, "/create_and_send_event_into_room") {
			t.Errorf("%s: %s, %v", r.URL.Path, body, err)
		}
		texts <- call.Event.RoomID + ": " + call.Event.Content.Body
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(s.Close)
	return s.URL, texts
}

// TestExampleModulePostsRefusalsIntoARoom runs examples/refusals beside a module that refuses, and one that may not read.
func TestExampleModulePostsRefusalsIntoARoom(t *testing.T) {
	t.Parallel()
	postsRefusals(t, testbed.Program(t, "examples/refusals"))
}

// postsRefusals runs a module as examples/refusals is, which that command starts.
func postsRefusals(t *testing.T, run string) {
	t.Helper()
	url, posted := rooms(t)
	d := testbed.Serve(t, `
homeserver: {url: "`+url+`"}
modules:
  - module: demo
    run: [`+testbed.Program(t, testbed.Demo)+`]
    config: {deny: ["@evil:example.com"]}
  - module: refusals
    run: [`+run+`]
    grants: [decisions.read, rooms.send]
    config: {room: "!mods:example.com", sender: "@bot:example.com", callbacks: [spam_checker.user_may_create_room]}
  - module: other
`)
	other := d.ConnectModule("other", nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	at := subjects.For("example.com")
	own, err := other.QueueSubscribeSync(at.Decisions("other"), subjects.Group("other"))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.QueueSubscribeSync(at.Decisions("refusals"), subjects.Group("refusals"))
	if err != nil {
		t.Fatal(err)
	}
	_ = other.Flush()
	d.Create("@alice:example.com")
	d.Create("@evil:example.com")
	select {
	case text := <-posted:
		if !strings.HasPrefix(text, "!mods:example.com: spam_checker.user_may_create_room was refused by demo: busd explain d-") {
			t.Error(text)
		}
		id := text[strings.LastIndexByte(text, ' ')+1:]
		if status, out, problem := testbed.Run(t, "explain", "--config", d.File, "--url", d.URL, id); status != 0 || !strings.Contains(out, "refused by demo") {
			t.Errorf("%d %s %s", status, out, problem)
		}
	case <-time.After(testbed.Patience):
		t.Fatal("nothing is posted")
	}
	for name, sub := range map[string]*nats.Subscription{"its own": own, "another's": foreign} {
		if n, _, err := sub.Pending(); err == nil && n > 0 {
			t.Errorf("a module that may not read hears of decisions on %s subject", name)
		}
	}
}

func TestRecordsOfYesterdayAreExplainedAfterARestart(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "state_dir: '"+t.TempDir()+`'
decisions: {}
modules:
  - module: demo
    run: [`+testbed.Program(t, testbed.Demo)+`]
    config: {deny: ["@evil:example.com"]}
`)
	_, out := d.Request(http.MethodPost, testbed.CreatePath, []byte(`{"user_id": "@evil:example.com"}`))
	var verdict struct {
		ID string `json:"decision_id"`
	}
	if err := json.Unmarshal(out, &verdict); err != nil {
		t.Fatal(err)
	}
	d.Stop()
	again := d.Again()
	commands := func(args ...string) (int, string) {
		t.Helper()
		status, out, problem := testbed.Run(t, append(args, "--config", again.File, "--url", again.URL)...)
		return status, out + problem
	}
	if status, out := commands("explain", verdict.ID); status != 0 || !strings.Contains(out, "refused by demo") {
		t.Errorf("explain: %d %s", status, out)
	}
	if status, out := commands("tail", "--since", "1h", "--refused", "--json"); status != 0 || !strings.Contains(out, verdict.ID) {
		t.Errorf("tail: %d %s", status, out)
	}
	if status, out := commands("explain", "d-0000000000000000"); status != 1 || !strings.Contains(out, "in JetStream") {
		t.Errorf("explain what is not there: %d %s", status, out)
	}
	text, err := os.ReadFile(again.File)
	if err != nil {
		t.Fatal(err)
	}
	testbed.Write(t, again.File+".new", strings.Replace(string(text), "- module: demo", "- module: another", 1))
	if status, out, problem := testbed.Run(t, "replay", "--since", "24h", "--url", again.URL, "--config", again.File+".new"); status != 3 || !strings.Contains(out, "1 records: 1 differ") {
		t.Errorf("replay without demo: %d %s %s", status, out, problem)
	}
	again.Stop()
}
