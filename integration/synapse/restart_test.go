//go:build integration

package synapse_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
)

// olderBusd is a program: the busd that is upgraded, as make upgraded builds it from an older commit.
var olderBusd = os.Getenv("MODULEBUS_OLDER_BUSD")

// downgrade has the older busd take the place of the one that runs, if there is an older one.
func (st *stage) downgrade(t *testing.T) {
	t.Helper()
	if olderBusd == "" {
		return
	}
	_, version, _ := testbed.Execute(t, olderBusd, "version").Run()
	t.Logf("upgrading from %s", version)
	st.d.Stop()
	d := &testbed.Daemon{Process: testbed.Execute(t, olderBusd, "serve", "--config", st.d.File), Caller: testbed.Call(t, ""), File: st.d.File}
	d.Start()
	st.d = d.Announced()
}

// TestSynapseClientsDoNotFeelARestartOfBusd has busd drain and start again under many clients, as an upgrade does. Their requests wait
// for it, within the bridge's timeout.
func TestSynapseClientsDoNotFeelARestartOfBusd(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	st, startBusd := spamStage(t, `nats: {listen: "127.0.0.1:0"}`)
	st.downgrade(t)
	s := st.load(t, 50, false)
	s.until(t, "clients are answered", &s.answered)
	began := time.Now()
	st.d.Stop()
	st.d = startBusd()
	t.Logf("the restart took %v", time.Since(began).Round(time.Millisecond))
	s.until(t, "clients are answered after it", &s.answered)
	close(s.stop)
	s.group.Wait()
	st.holds(t, "busd is restarted", s.room, s.accepted)
	if s.interrupted != 0 {
		t.Errorf("%d requests failed; %d had their verdict", s.interrupted, s.answered)
	}
}

// balancer is a proxy in front of several busd, to which it passes requests in turn. It looks at none of them beforehand.
type balancer struct {
	*httptest.Server
	turn atomic.Int64
	lost atomic.Int64 // questions that found nobody
}

func balance(t *testing.T, ports ...int) *balancer {
	t.Helper()
	b := &balancer{}
	var busds []*httputil.ReverseProxy
	for _, port := range ports {
		p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: fmt.Sprint("127.0.0.1:", port)})
		p.ErrorLog = log.New(io.Discard, "", 0)
		p.ErrorHandler = func(w http.ResponseWriter, r *http.Request, _ error) {
			if strings.HasPrefix(r.URL.Path, "/_modulebus/v1/ask/") {
				b.lost.Add(1)
			}
			w.WriteHeader(http.StatusBadGateway)
		}
		busds = append(busds, p)
	}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		busds[b.turn.Add(1)%int64(len(busds))].ServeHTTP(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

// until waits until so many more questions have found nobody.
func (b *balancer) until(t *testing.T, more int64) {
	t.Helper()
	enough := b.lost.Load() + more
	testbed.Eventually(t, "questions find nobody", func() bool { return b.lost.Load() >= enough })
}

// TestSynapseClientsDoNotFeelBusdsAway has two busd behind one address, under many clients. One of them goes, and then both
// are away for some seconds, which is less than the bridge's timeout.
//
//nolint:paralleltest // servers enough for a small machine
func TestSynapseClientsDoNotFeelBusdsAway(t *testing.T) {
	broker := natstest.Start(t, &server.Options{Port: server.RANDOM_PORT})
	ports := []int{testbed.FreePort(t), testbed.FreePort(t)}
	front := balance(t, ports...)
	st := &stage{s: prepareSynapse(t)}
	st.files(t)
	st.say(t, map[string]string{"check_event_for_spam": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`})
	busds := make([]*testbed.Daemon, len(ports))
	start := func(i int) {
		config := strings.Replace(st.faultsConfig(t, ports[i], "check_event_for_spam"), `{listen: "127.0.0.1:0"}`, fmt.Sprintf("{url: %q}", broker.ClientURL()), 1)
		busds[i] = testbed.Serve(t, config)
	}
	start(0)
	start(1)
	st.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: %q, timeout: 10s}`, front.URL), "")
	st.s.start(t)
	st.populate(t)
	s := st.load(t, 50, false)
	s.until(t, "clients are answered", &s.answered)
	busds[0].Stop()
	front.until(t, 10)
	s.until(t, "clients are answered by the other busd", &s.answered)
	busds[1].Stop()
	front.until(t, 60) // Synapse makes five events of a room at a time, and asks about each four times a second: three seconds.
	start(0)
	start(1)
	s.until(t, "clients are answered after it", &s.answered)
	close(s.stop)
	s.group.Wait()
	st.holds(t, "busd was away", s.room, s.accepted)
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
	st := &stage{s: prepareSynapse(t)}
	st.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: %q, timeout: 500ms, on_failure: {user_may_create_room: skip, check_event_allowed: skip}}`, hangs.URL), "")
	st.s.start(t)
	alice := st.s.register(t, "alice", false)
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

// TestSynapseHoldsARequestForItsTimeoutAndAFifth has a busd that answers, and slowly, and a client do what takes Synapse more than
// ten questions. When answers have held the request for its time, it goes on while they are quick, and fails with the first that is
// not; nothing passes for it, though the operator's word is skip. See ADR 76.
func TestSynapseHoldsARequestForItsTimeoutAndAFifth(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	const (
		timeout     = 5 * time.Second
		slow, quick = 1200 * time.Millisecond, 300 * time.Millisecond // more than a fifth, and less
		most        = int64(timeout/slow) + 1
	)
	var asked, slowFor atomic.Int64
	busd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/_modulebus/v1/ask/"):
			_, _ = io.Copy(io.Discard, r.Body) // Only then does the server see that the client has gone.
			takes := quick
			if asked.Add(1) <= slowFor.Load() {
				takes = slow
			}
			select {
			case <-time.After(takes):
			case <-r.Context().Done():
			}
			_, _ = io.WriteString(w, `{"failures":[],"roster_revision":1}`)
		case r.URL.Query().Has("after"):
			<-r.Context().Done()
		default:
			_, _ = io.WriteString(w, `{"roster_revision":1,"callbacks":{"spam_checker":["user_may_create_room"],"third_party_rules":["check_event_allowed"]}}`)
		}
	}))
	t.Cleanup(busd.Close)
	st := &stage{s: prepareSynapse(t)}
	st.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: %q, timeout: %s, on_failure: {user_may_create_room: skip, check_event_allowed: skip}}`, busd.URL, timeout), "")
	st.s.start(t)
	alice := st.s.register(t, "alice", false)
	create := func(slowOnes int64) (reply, int64, time.Duration) {
		asked.Store(0)
		slowFor.Store(slowOnes)
		began := time.Now()
		r := alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": "held", "topic": "long"})
		return r, asked.Load(), time.Since(began)
	}
	r, all, took := create(3)
	t.Logf("%d questions, the first three slow: held for %v", all, took.Round(time.Millisecond))
	if r.status != http.StatusOK || 3*slow+time.Duration(all-3)*quick < timeout {
		t.Errorf("after %d questions the client saw %s", all, r)
	}
	r, all, took = create(1000)
	t.Logf("slow questions: %d asked, held for %v", all, took.Round(time.Millisecond))
	if r.String() != broken || all > most {
		t.Errorf("of slow questions %d were asked, and the client saw %s", all, r)
	}
	busd.CloseClientConnections()
}

// TestSynapseClientsGetErrorsWhileBusdStaysAway has busd away under many clients for longer than the bridge waits. Each request is
// answered with an error, and nothing that the module would have refused gets through.
func TestSynapseClientsGetErrorsWhileBusdStaysAway(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	st, startBusd := spamStage(t, `nats: {listen: "127.0.0.1:0"}`)
	s := st.load(t, 50, false)
	s.until(t, "clients are answered", &s.answered)
	st.d.Stop()
	for range 4 {
		s.until(t, "clients get errors", &s.interrupted)
	}
	st.d = startBusd()
	s.until(t, "clients are answered after it", &s.answered)
	close(s.stop)
	s.group.Wait()
	t.Logf("%d requests got an error, the longest after %v", s.interrupted, s.longest.Round(time.Millisecond))
	st.holds(t, "busd stayed away", s.room, s.accepted)
}
