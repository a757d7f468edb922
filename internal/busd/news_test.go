package busd_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/subjects"
)

const (
	profilePath = "/_modulebus/v1/ask/third_party_rules/on_profile_update"
	profile     = `{"user_id":"@a:example.com"}`
	keeping     = "modules:\n  - {module: archive, deliver: at_least_once, callbacks: {on_profile_update: {on_failure: fail}}}\n"
)

// told connects as the module, and returns what it is told.
func (r *running) told(dir string) <-chan *nats.Msg {
	r.t.Helper()
	server := subjects.For(serverName)
	nc, err := nats.Connect(r.nats, nats.UserCredentials(credentials(r.t, dir, "archive")), nats.CustomInboxPrefix(server.Inbox("archive", "w")))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	got := make(chan *nats.Msg, 16)
	if _, err := nc.ChanQueueSubscribe(server.Callback(subjects.OnProfileUpdate, "archive"), subjects.Group("archive"), got); err != nil {
		r.t.Fatal(err)
	}
	return got
}

func TestNewsOutlivesBusd(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	r := serve(t, parse(t, dir, keeping))
	if status, out := r.do("POST", profilePath, profile); status != 200 || !strings.Contains(out, `"failures":[]`) {
		t.Fatalf("%d: %s", status, out)
	}
	waittest.Until(t, "it is shown", func() bool { n := r.modules().Modules[0].News; return n != nil && n.Waiting == 1 && !n.Oldest.IsZero() })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = serve(t, parse(t, dir, keeping))
	m := <-r.told(dir)
	if m.Header.Get("Modulebus-News") == "" {
		t.Errorf("it has no name: %v", m.Header)
	}
	if err := m.Respond(nil); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "nothing is kept any more", func() bool { return r.modules().Modules[0].News.Waiting == 0 })
}

// Nobody has to touch the file again when what was in the way is gone.
func TestReloadThatWaitsForJetStreamIsTriedAgain(t *testing.T) {
	t.Parallel()
	home, dir := natstest.TCP(t), stateDir(t)
	url := home.URL()
	external := func(modules string) busd.Reload {
		c := parse(t, dir, modules)
		c.NATS.Listen, c.NATS.URL, c.NATS.MaxPayload = "", url, 0
		return busd.Reload{Config: c}
	}
	r := serve(t, external("modules: [{module: gate}]\n").Config)
	r.reload <- external(keeping)
	waittest.Until(t, "it says so", func() bool {
		return strings.Contains(r.modules().Config.Error, "module archive: deliver: at_least_once needs JetStream, and this NATS does not have it")
	})
	list := r.modules()
	if len(list.Modules) != 1 || list.Modules[0].Name != "gate" || list.Config.RetryAt.IsZero() {
		t.Errorf("the list is %+v", list)
	}
	if _, out := r.do("GET", "/readyz", ""); !strings.Contains(out, "needs JetStream") {
		t.Errorf("/readyz says %s", out)
	}
	home.EnableJetStream(t)
	waittest.Until(t, "it is taken over", func() bool { list := r.modules(); return list.Config.Error == "" && list.Modules[0].Name == "archive" })
	if _, out := r.do("GET", "/metrics", ""); strings.Contains(out, "modulebus_config_reload_retries_total 0") {
		t.Error("the metric tells nothing of it")
	}
	r.reload <- external("modules: [{module: gate}]\n")
	waittest.Until(t, "the next change is taken over", func() bool { return r.modules().Modules[0].Name == "gate" })
}
