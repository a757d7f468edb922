//go:build integration

package synapse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
)

// faultsConfig is a busd whose module registers these callbacks.
func (st *stage) faultsConfig(t *testing.T, port int, register string) string {
	return fmt.Sprintf(`
server_name: "%s"
nats: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:%d"}
modules:
  - module: scripted
    run: [%s]
    workers: 1
    config: {script: "%s", record: "%s", register: [%s]}
`, st.s.name, port, testbed.Program(t, scripted), st.script, st.record, register)
}

// TestSynapseWithoutBusd has a Synapse that starts before busd does, asks more and less while it runs, and loses busd and
// finds it again.
func TestSynapseWithoutBusd(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	port := testbed.FreePort(t)
	st := &stage{s: prepareSynapse(t)}
	st.files(t)
	st.say(t, map[string]string{
		"user_may_create_room": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`,
		"check_event_for_spam": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`,
	})
	st.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: "http://127.0.0.1:%d", on_failure: {is_user_expired: skip, get_ratelimit_override_for_user: skip, user_may_invite: refuse}}`, port), "")
	config := st.faultsConfig(t, port, "user_may_create_room")
	d := testbed.Serve(t, config)
	st.s.start(t)
	st.populate(t)
	d.Stop()
	st.s.stop()
	st.s.start(t)
	create := func() string {
		return st.alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": "refused"}).String()
	}
	invite := func() string {
		return st.alice.do(t, "POST", room(st.room, "invite"), map[string]any{"user_id": "@" + st.unique("new") + ":" + st.s.name}).String()
	}
	send := func() string {
		return st.alice.do(t, "PUT", room(st.room, "send", "m.room.message", st.unique("txn")), message("refused")).String()
	}
	const refused = `403 M_FORBIDDEN "not this one"`
	expect := func(step, want string, f func() string) {
		t.Helper()
		if got := eventually(t, want, f); got != want {
			t.Errorf("%s: the client saw %s, want %s", step, got, want)
		}
		fmt.Printf("| %-64s | %s\n", step, want)
	}

	expect("before busd: what may be wanted is not let pass", `403 M_UNKNOWN "Room creation forbidden with these parameters"`, create)
	expect("before busd: nor is what no module wants", broken, send)
	expect("before busd: what on_failure names does what it says", `403 M_FORBIDDEN "Invites have been disabled on this server"`, invite)

	d = testbed.Serve(t, config)
	expect("busd comes: what is wanted is asked", refused, create)
	expect("busd comes: what nobody wants is not", "200", invite)
	expect("not wanted yet", "200", send)

	reload(t, d, st.faultsConfig(t, port, "user_may_create_room, check_event_for_spam"))
	expect("another callback is wanted", refused, send)
	expect("and the first one still", refused, create)
	reload(t, d, st.faultsConfig(t, port, "check_event_for_spam"))
	expect("a callback is wanted no more", "200", create)

	outages := func() int {
		return strings.Count(st.s.log.String(), "until it is back, callbacks do as on_failure says")
	}
	before := outages()
	d.Stop()
	expect("busd is stopped: its failure default", broken, send)
	for range 50 {
		if got := send(); got != broken {
			t.Errorf("without busd the client saw %s", got)
		}
	}
	testbed.Eventually(t, "the log tells of the outage", func() bool { return outages() > before })
	if n := outages() - before; n != 1 {
		t.Errorf("one outage has %d lines in the log", n)
	}

	d = testbed.Serve(t, st.faultsConfig(t, port, "check_event_for_spam"))
	expect("busd is back: it is asked again", refused, send)
	testbed.Eventually(t, "the log says that busd is back", func() bool { return strings.Contains(st.s.log.String(), "busd is back") })

	// The module goes on hanging after the clients have gone, so that an answer is one that did not wait for it.
	st.say(t, map[string]string{"check_event_for_spam": `{"when": "hangs", "sleep": 3600000}`})
	logTimes(t, "a module hangs", st.crowd(t, sends(50, []string{st.room}, "hangs", broken)), time.Second)
	st.say(t, map[string]string{"check_event_for_spam": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`})
	expect("the module answers again", refused, send)

	d.Signal(syscall.SIGSTOP)
	hung := st.crowd(t, sends(50, []string{st.room}, "refused", broken))
	d.Signal(syscall.SIGCONT)
	logTimes(t, "busd hangs", hung, 2500*time.Millisecond)
	expect("busd goes on: it is asked again", refused, send)
}

// send is a message that a client sends, what it must see, and what came of it.
type send struct {
	room, text, want string
	event            string
	took             time.Duration
}

// sends are that many messages whose texts begin so, in turn to each of the rooms.
func sends(n int, rooms []string, text, want string) (all []send) {
	for i := range n {
		all = append(all, send{room: rooms[i%len(rooms)], text: fmt.Sprint(text, " ", i), want: want})
	}
	return all
}

// crowd has as many clients as there are messages send one each, all at once, and wants each to see what it must.
func (st *stage) crowd(t *testing.T, all []send) []send {
	t.Helper()
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() { all[i].by(t, st.alice) })
	}
	group.Wait()
	return all
}

func (s *send) by(t *testing.T, u user) {
	started := time.Now()
	r, err := u.sends(t.Context(), s.room, s.text)
	s.took, s.event = time.Since(started), r.str("event_id")
	if err != nil || r.String() != s.want {
		t.Errorf("%q: the client saw %v (%v), want %s", s.text, r, err, s.want)
	}
}

// sends sends a message whose text is its transaction, too: what has one text is one message.
func (u user) sends(ctx context.Context, where, text string) (reply, error) {
	return u.try(ctx, "PUT", room(where, "send", "m.room.message", text), message(text))
}

// logTimes tells how long clients waited, and how long that should be where the machine has nothing else to do.
func logTimes(t *testing.T, what string, all []send, budget time.Duration) {
	t.Helper()
	var took []time.Duration
	for _, s := range all {
		took = append(took, s.took)
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	t.Logf("%s: %d clients, p50 %v, p99 %v; the budget and a fifth are %v",
		what, len(took), p50.Round(time.Millisecond), p99.Round(time.Millisecond), budget*6/5)
}

func reload(t *testing.T, d *testbed.Daemon, config string) {
	t.Helper()
	d.Reconfigure(config)
	d.Signal(syscall.SIGHUP)
}

// spamStage has a module refuse messages with "refused" in them. NATS is as the line of busd.yaml says, and busd has the
// same address whenever it is started, so that it can be restarted under a Synapse.
func spamStage(t *testing.T, nats string) (st *stage, startBusd func() *testbed.Daemon) {
	t.Helper()
	port := testbed.FreePort(t)
	st = &stage{s: prepareSynapse(t)}
	st.files(t)
	st.say(t, map[string]string{"check_event_for_spam": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`})
	config := strings.Replace(st.faultsConfig(t, port, "check_event_for_spam"), `nats: {listen: "127.0.0.1:0"}`, nats, 1)
	st.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: "http://127.0.0.1:%d"}`, port), "")
	startBusd = func() *testbed.Daemon { return testbed.Serve(t, config) }
	st.d = startBusd()
	st.s.start(t)
	st.populate(t)
	return st, startBusd
}

// fault breaks something until it is mended.
type fault struct {
	name        string
	happen, end func()
	unreachable bool // Synapse itself, so that clients get no response
}

// under has clients send before, during and after a fault, and holds what they were told against what is in the room. It
// is no fault unless they feel it.
func (st *stage) under(t *testing.T, f fault) {
	t.Helper()
	s := st.load(t, 8, f.unreachable)
	s.until(t, "clients are answered", &s.answered)
	f.happen()
	s.until(t, "clients feel it: "+f.name, &s.interrupted)
	f.end()
	s.until(t, "clients are answered after it: "+f.name, &s.answered)
	close(s.stop)
	s.group.Wait()
	st.holds(t, f.name, s.room, s.accepted)
	t.Logf("%s: %d messages had their verdict, %d of them accepted, after %d failures", f.name, s.answered, len(s.accepted), s.interrupted)
}

// senders are clients that send one message after the other. As clients do, they send one again, in the same
// transaction, for as long as there is no verdict on it.
type senders struct {
	user        user
	room        string
	unreachable bool
	group       sync.WaitGroup
	stop        chan struct{}

	mu                    sync.Mutex
	answered, interrupted int
	accepted              map[string][]string // events by text
	longest               time.Duration       // that a request took
}

func (st *stage) load(t *testing.T, n int, unreachable bool) *senders {
	t.Helper()
	s := &senders{
		user: st.alice, room: st.alice.createRoom(t, nil), unreachable: unreachable,
		stop: make(chan struct{}), accepted: map[string][]string{},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(func() { cancel(); s.group.Wait() })
	for i := range n {
		s.group.Go(func() { s.run(ctx, t, i) })
	}
	return s
}

func (s *senders) run(ctx context.Context, t *testing.T, i int) {
	for n := 0; ; n++ {
		select {
		case <-s.stop:
			return
		case <-ctx.Done():
			return
		default:
			s.send(ctx, t, fmt.Sprintf("%s %d.%d", []string{"fine", "refused"}[n%2], i, n))
		}
	}
}

func (s *senders) send(ctx context.Context, t *testing.T, text string) {
	for {
		began := time.Now()
		r, err := s.user.sends(ctx, s.room, text)
		s.held(time.Since(began))
		if ctx.Err() != nil {
			t.Errorf("%q has no verdict, but %v (%v)", text, r, err)
			return
		}
		if s.note(t, text, r, err) {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (s *senders) held(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longest = max(s.longest, took)
}

// note says whether that is a verdict. A message that the module refuses is never accepted, whatever is broken.
func (s *senders) note(t *testing.T, text string, r reply, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && r.String() == broken || err != nil && s.unreachable {
		s.interrupted++
		return false
	}
	want := map[bool]string{true: `403 M_FORBIDDEN "not this one"`, false: "200"}[strings.HasPrefix(text, "refused")]
	if err != nil || r.String() != want {
		t.Errorf("%q: the client saw %v (%v), want %s", text, r, err, want)
	}
	if r.status == 200 {
		s.accepted[text] = append(s.accepted[text], r.str("event_id"))
	}
	s.answered++
	return true
}

// until waits until a count has grown by as much as all clients together need for some messages each.
func (s *senders) until(t *testing.T, what string, count *int) {
	t.Helper()
	read := func() int { s.mu.Lock(); defer s.mu.Unlock(); return *count }
	enough := read() + 32
	for deadline := time.Now().Add(time.Minute); read() < enough; testbed.Pause(t) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// holds wants the room to have each accepted message once, and no other, as clients see it and in Synapse's database; and
// nothing in there that Synapse rejected or hides.
func (st *stage) holds(t *testing.T, when, room string, accepted map[string][]string) {
	t.Helper()
	if diff := cmp.Diff(accepted, st.seen(t, room)); diff != "" {
		t.Errorf("%s: what clients see (+) is not what was accepted (-):\n%s", when, diff)
	}
	stored := map[string][]string{}
	for _, e := range st.stored(t, room) {
		if e.Rejected != "" || e.SoftFailed {
			t.Errorf("%s: Synapse does not let its own event count: %+v", when, e)
		}
		if e.Type == "m.room.message" {
			stored[e.Body] = append(stored[e.Body], e.ID)
		}
	}
	if diff := cmp.Diff(accepted, stored); diff != "" {
		t.Errorf("%s: what is stored (+) is not what was accepted (-):\n%s", when, diff)
	}
}

// seen is what a client sees that pages through the room: events by text.
func (st *stage) seen(t *testing.T, where string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for from := ""; ; {
		r := st.alice.must(t, "GET", room(where, "messages")+"?dir=b&limit=1000"+from, nil)
		var page struct {
			End   string
			Chunk []struct {
				ID      string `json:"event_id"`
				Type    string
				Content struct{ Body string }
			}
		}
		if err := json.Unmarshal(r.raw, &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Chunk {
			if e.Type == "m.room.message" {
				all[e.Content.Body] = append(all[e.Content.Body], e.ID)
			}
		}
		if page.End == "" {
			return all
		}
		from = "&from=" + url.QueryEscape(page.End)
	}
}

// storedEvent is what Synapse keeps of an event.
type storedEvent struct {
	ID, Type, Body, Rejected string
	SoftFailed               bool
}

const readEvents = `
import json, sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=30)
events = []
for id, type, reason, internal, event in db.execute("""
    SELECT e.event_id, e.type, COALESCE(e.rejection_reason, r.reason, ''), j.internal_metadata, j.json
    FROM events e JOIN event_json j USING (event_id) LEFT JOIN rejections r USING (event_id)
    WHERE e.room_id = ?""", sys.argv[2:]):
    body = str(json.loads(event)["content"].get("body", ""))
    soft = bool(json.loads(internal).get("soft_failed"))
    events.append({"ID": id, "Type": type, "Body": body, "Rejected": reason, "SoftFailed": soft})
json.dump(events, sys.stdout)
`

// stored reads a room out of Synapse's database.
func (st *stage) stored(t *testing.T, room string) (events []storedEvent) {
	t.Helper()
	c := exec.CommandContext(t.Context(), testbed.Python(t), "-c", readEvents, filepath.Join(st.s.dir, "homeserver.db"), room)
	c.Stderr = t.Output()
	out, err := c.Output()
	if err != nil {
		t.Fatalf("reading Synapse's database: %v", err)
	}
	if err := json.Unmarshal(out, &events); err != nil {
		t.Fatal(err)
	}
	if len(events) == 0 {
		t.Fatalf("Synapse's database has no room %s", room)
	}
	return events
}

// TestSynapseWhileNATSRestarts has NATS go and come back, outside of busd.
func TestSynapseWhileNATSRestarts(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	port := testbed.FreePort(t)
	broker := natstest.Start(t, &server.Options{Port: port})
	st, _ := spamStage(t, fmt.Sprintf("nats: {url: %q}", broker.ClientURL()))
	st.under(t, fault{
		name:   "NATS is restarted",
		happen: func() { broker.Shutdown(); broker.WaitForShutdown() },
		end:    func() { natstest.Start(t, &server.Options{Port: port}) },
	})
}

// TestSynapseWhileBusdRestarts has busd drain, die and hang.
func TestSynapseWhileBusdRestarts(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	st, startBusd := spamStage(t, `nats: {listen: "127.0.0.1:0"}`)
	start := func() { st.d = startBusd() }
	for _, f := range []fault{
		{name: "busd is restarted", happen: func() { st.d.Stop() }, end: start},
		{name: "busd is killed", happen: func() { st.d.Kill() }, end: start},
		{name: "busd hangs", happen: func() { st.d.Signal(syscall.SIGSTOP) }, end: func() { st.d.Signal(syscall.SIGCONT) }},
	} {
		st.under(t, f)
	}
}

// TestSynapseRestartsUnderLoad has Synapse itself stop, and die. The first event after its start is asked about already.
func TestSynapseRestartsUnderLoad(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	st, _ := spamStage(t, `nats: {listen: "127.0.0.1:0"}`)
	start := func() { st.s.start(t) }
	for _, f := range []fault{
		{name: "Synapse is restarted", happen: st.s.stop, end: start, unreachable: true},
		{name: "Synapse is killed", happen: st.s.kill, end: start, unreachable: true},
	} {
		st.under(t, f)
	}
}

// TestSynapseWhileAModuleHangs has a module never answer about half of what fifty clients send into ten rooms, and at once about
// the rest.
func TestSynapseWhileAModuleHangs(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	port := testbed.FreePort(t)
	st := &stage{s: prepareSynapse(t)}
	st.files(t)
	st.say(t, map[string]string{"check_event_for_spam": `{"when": "hangs", "sleep": 3600000}`})
	const timeout = 5 * time.Second
	config := func(onFailure string) string {
		return st.faultsConfig(t, port, "check_event_for_spam") + fmt.Sprintf("    timeout: %v\n    breaker: off\n    on_failure: %s\nbudget: %v\n", timeout, onFailure, timeout)
	}
	st.d = testbed.Serve(t, config("fail"))
	st.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: "http://127.0.0.1:%d", timeout: 10s}`, port), "")
	st.s.start(t)
	st.populate(t)
	var rooms []string
	for range 10 {
		rooms = append(rooms, st.alice.createRoom(t, nil))
	}

	all := st.hangs(t, rooms, "fails", broken, timeout)
	reload(t, st.d, config("skip"))
	st.d.Stderr.Line(t, "took over the new configuration")
	all = append(all, st.hangs(t, rooms, "is skipped", "200", timeout)...)
	for _, r := range rooms {
		st.holds(t, "a module hung", r, accepted(all, r))
	}
}

// hangs wants who waits for the module to see what its failure means, and all others what they see at any time.
func (st *stage) hangs(t *testing.T, rooms []string, policy, want string, timeout time.Duration) []send {
	t.Helper()
	all := append(sends(25, rooms, "hangs, "+policy, want), sends(25, rooms, "fine, "+policy, "200")...)
	st.crowd(t, all)
	logTimes(t, "a module hangs and "+policy, all[:25], timeout)
	logTimes(t, "the others meanwhile", all[25:], timeout)
	return all
}

// accepted is what of this must be in the room: events by text.
func accepted(all []send, room string) map[string][]string {
	in := map[string][]string{}
	for _, s := range all {
		if s.room == room && s.event != "" {
			in[s.text] = append(in[s.text], s.event)
		}
	}
	return in
}
