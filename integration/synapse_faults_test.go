//go:build integration

package integration

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// faultsConfig is a busd whose module registers these callbacks.
func (w *world) faultsConfig(bins binaries, port int, register string) string {
	return fmt.Sprintf(`
server_name: "%s"
nats: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:%d"}
modules:
  - module: scripted
    run: [%s]
    workers: 1
    config: {script: "%s", record: "%s", register: [%s]}
`, w.s.name, port, bins.scripted, w.script, w.record, register)
}

// TestSynapseWithoutBusd has a Synapse that starts before busd does, is asked for more and for less while it runs, and
// loses busd and finds it again.
func TestSynapseWithoutBusd(t *testing.T) { //nolint:paralleltest // it measures time
	bins, port := buildAll(t), freePort(t)
	w := &world{s: prepareSynapse(t)}
	w.files(t)
	w.say(t, map[string]string{
		"user_may_create_room": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`,
		"check_event_for_spam": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`,
	})
	w.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config: {url: "http://127.0.0.1:%d", on_failure: {user_may_invite: refuse}}`, port), "")
	w.s.start(t)
	w.populate(t)
	create := func() string {
		return w.alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": "refused"}).String()
	}
	invite := func() string {
		return w.alice.do(t, "POST", room(w.room, "invite"), map[string]any{"user_id": "@" + w.unique("new") + ":" + w.s.name}).String()
	}
	send := func() string {
		return w.alice.do(t, "PUT", room(w.room, "send", "m.room.message", w.unique("txn")), message("refused")).String()
	}
	const refused = `403 M_FORBIDDEN "not this one"`
	expect := func(step, want string, f func() string) {
		t.Helper()
		if got := eventually(t, want, f); got != want {
			t.Errorf("%s: the client saw %s, want %s", step, got, want)
		}
		fmt.Printf("| %-64s | %s\n", step, want)
	}

	expect("before busd: what nobody knows to be wanted is not asked", "200", create)
	expect("before busd: what on_failure names does what it says", `403 M_FORBIDDEN "Invites have been disabled on this server"`, invite)

	config := w.faultsConfig(bins, port, "user_may_create_room")
	d := serve(t, bins.busd, config)
	expect("busd comes: what is wanted is asked", refused, create)
	expect("busd comes: what nobody wants is not", "200", invite)
	expect("not wanted yet", "200", send)

	reload(t, d, w.faultsConfig(bins, port, "user_may_create_room, check_event_for_spam"))
	expect("another callback is wanted", refused, send)
	expect("and the first one still", refused, create)
	reload(t, d, w.faultsConfig(bins, port, "check_event_for_spam"))
	expect("a callback is wanted no more", "200", create)
	if n := strings.Count(w.s.log.String(), "registered user_may_create_room"); n != 1 {
		t.Errorf("user_may_create_room was registered %d times", n)
	}
	if strings.Contains(w.s.log.String(), "is_user_expired") {
		t.Error("something was registered that nobody wanted")
	}

	outages := func() int {
		return strings.Count(w.s.log.String(), "until it is back, callbacks do as on_failure says")
	}
	before := outages()
	d.stop(t)
	expect("busd is stopped: its failure default", broken, send)
	started := time.Now()
	for range 50 {
		if got := send(); got != broken {
			t.Errorf("without busd the client saw %s", got)
		}
	}
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("without busd 50 requests took %v", took)
	}
	if n := outages() - before; n != 1 {
		t.Errorf("one outage has %d lines in the log", n)
	}

	d = serve(t, bins.busd, w.faultsConfig(bins, port, "check_event_for_spam"))
	expect("busd is back: it is asked again", refused, send)
	if !strings.Contains(w.s.log.String(), "busd is back") {
		t.Error("the log does not say that busd is back")
	}

	// A module that hangs has its timeout of a second, and then Synapse is told that it failed.
	w.say(t, map[string]string{"check_event_for_spam": `{"when": "hangs", "sleep": 60000}`})
	if slowest := w.crowd(t, 50, "hangs", broken); slowest > 2500*time.Millisecond {
		t.Errorf("while a module hung, a client waited for %v", slowest)
	} else {
		fmt.Printf("| %-64s | slowest of 50 clients: %v\n", "a module hangs: nobody waits longer than its timeout", slowest.Round(time.Millisecond))
	}
	w.say(t, map[string]string{"check_event_for_spam": `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`})
	expect("the module answers again", refused, send)

	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	slowest := w.crowd(t, 50, "refused", broken)
	if err := d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// The timeout, a fifth on top, and what fifty requests take a Synapse on a busy machine.
	if slowest > 4500*time.Millisecond {
		t.Errorf("while busd hung, a client waited for %v", slowest)
	}
	fmt.Printf("| %-64s | slowest of 50 clients: %v\n", "busd hangs: nobody waits longer than the timeout", slowest.Round(time.Millisecond))
	expect("busd goes on: it is asked again", refused, send)
}

// crowd has so many clients send at once, and returns how long the slowest took.
func (w *world) crowd(t *testing.T, n int, text, want string) (slowest time.Duration) {
	t.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	for i := range n {
		group.Go(func() {
			started := time.Now()
			r, err := w.alice.try(t.Context(), "PUT", room(w.room, "send", "m.room.message", fmt.Sprint(text, i)), message(text))
			mu.Lock()
			defer mu.Unlock()
			slowest = max(slowest, time.Since(started))
			if err != nil || r.String() != want {
				t.Errorf("the client saw %v (%v), want %s", r, err, want)
			}
		})
	}
	group.Wait()
	return slowest
}

func reload(t *testing.T, d *daemon, config string) {
	t.Helper()
	write(t, d.config, config)
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}
