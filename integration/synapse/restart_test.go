//go:build integration

package synapse_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestSynapseClientsDoNotFeelARestartOfBusd has busd drain and start again under many clients. Their requests wait for it,
// within the bridge's timeout.
func TestSynapseClientsDoNotFeelARestartOfBusd(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	w, startBusd := spamWorld(t, `nats: {listen: "127.0.0.1:0"}`)
	s := w.load(t, 50, false)
	s.until(t, "clients are answered", &s.answered)
	began := time.Now()
	w.d.Stop()
	w.d = startBusd()
	t.Logf("the restart took %v", time.Since(began).Round(time.Millisecond))
	s.until(t, "clients are answered after it", &s.answered)
	close(s.stop)
	s.group.Wait()
	w.holds(t, "busd is restarted", s.room, s.accepted)
	if s.interrupted != 0 {
		t.Errorf("%d requests failed; %d had their verdict", s.interrupted, s.answered)
	}
}

// TestSynapseHoldsARequestNoLongerThanItsTimeout has a busd that answers no question, and a client do what takes Synapse
// more than ten. Once the first has waited for its time, the request waits for no other.
func TestSynapseHoldsARequestNoLongerThanItsTimeout(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	var asked atomic.Int64
	hangs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/_modulebus/v1/ask/"):
			asked.Add(1)
			_, _ = io.Copy(io.Discard, r.Body) // Only then does the server see that the client has gone.
			<-r.Context().Done()
		case r.URL.Query().Has("after"):
			<-r.Context().Done()
		default:
			_, _ = io.WriteString(w, `{"roster_revision":1,"callbacks":{"spam_checker":["user_may_create_room"],"third_party_rules":["check_event_allowed"]}}`)
		}
	}))
	t.Cleanup(hangs.Close)
	w := &world{s: prepareSynapse(t)}
	w.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: %q, timeout: 500ms, on_failure: {user_may_create_room: skip, check_event_allowed: skip}}`, hangs.URL), "")
	w.s.start(t)
	alice := w.s.register(t, "alice", false)
	for range 2 {
		before := asked.Load()
		if r := alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": "held", "topic": "long"}); r.status != 200 {
			t.Errorf("the client saw %s", r)
		}
		if got := asked.Load() - before; got != 1 {
			t.Errorf("the request waited for %d questions that had no answer, one after the other", got)
		}
	}
	hangs.CloseClientConnections()
}
