package integration_test

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/natstest"
)

func TestTwoBusdOnOneNATSSeeTheSameModules(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	config := "nats: {url: '" + home.URL() + "'}\nmodules: [{module: gate}]\n"
	gate := worker(t, home.URL(), "faulty", "gate")
	first := serve(t, config)
	second := serve(t, config)
	for _, d := range []*daemon{first, second} {
		contains(t, "the announcement", d.announce, "busd: ready")
		if v := d.create("@refused:example.com"); v.DecidedBy != "gate" {
			t.Error(v)
		}
		if m := d.module("gate"); m.State != "ready" || m.Workers != 1 {
			t.Errorf("%+v", m)
		}
	}
	first.stop()
	if v := second.create("@refused:example.com"); v.DecidedBy != "gate" {
		t.Errorf("without the other busd: %v", v)
	}
	gate.stop()
	eventually(t, "the one that is left knows", func() bool { return second.module("gate").State == "absent" })
	second.stop()
}

// TestASecondBusdDoesNotMakeTheFirstForget would find asks that were not made, because the roster of a busd that has just
// started knows of nobody.
func TestASecondBusdDoesNotMakeTheFirstForget(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	config := "nats: {url: '" + home.URL() + "'}\nmodules: [{module: gate}]\n"
	worker(t, home.URL(), "faulty", "gate")
	first := serve(t, config)
	a := first.ask(4)
	a.more(t, 50)
	for range 3 {
		second := serve(t, config)
		a.more(t, 50)
		second.stop()
	}
	a.more(t, 50)
	close(a.stop)
	a.owned.Wait()
	if len(a.failed) > 0 {
		t.Errorf("asks were not made, or failed: %v", a.failed)
	}
	first.stop()
}

func TestNoAskOverNATSIsLostWhenOneOfTwoBusdIsStopped(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	config := "nats: {url: '" + home.URL() + "'}\nmodules:\n  - module: gate\n    timeout: 30s\nbudget: 40s\n"
	worker(t, home.URL(), "faulty", "gate")
	first, second := serve(t, config), serve(t, config)
	ask := &nats.Msg{
		Subject: "modulebus.example%2Ecom.ask.spam_checker.user_may_create_room", Data: []byte(`{"user_id": "@refused:example.com"}`),
		Header: nats.Header{"Content-Type": {"application/json"}},
	}
	var asking sync.WaitGroup
	var asked atomic.Int64
	stop := make(chan struct{})
	for range 8 {
		nc := natstest.Connect(t, home)
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				reply, err := nc.RequestMsgWithContext(bounded(t), ask)
				if err != nil || !strings.Contains(string(reply.Data), `"decided_by":"gate"`) {
					t.Errorf("an ask got %v, %v", reply, err)
					return
				}
				asked.Add(1)
			}
		})
	}
	more := func() {
		t.Helper()
		until := asked.Load() + 200
		eventually(t, "asks are made", func() bool { return asked.Load() >= until || t.Failed() })
	}
	more()
	first.stop()
	more()
	close(stop)
	asking.Wait()
	second.stop()
}

func TestNATSMayGoAndComeBack(t *testing.T) {
	t.Parallel()
	address, err := net.ResolveTCPAddr("tcp", freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	broker := natstest.Start(t, &server.Options{Port: address.Port})
	gate := worker(t, broker.ClientURL(), "faulty", "gate")
	d := serve(t, "nats: {url: '"+broker.ClientURL()+"'}\nmodules: [{module: gate}]\n")
	if v := d.create("@refused:example.com"); v.DecidedBy != "gate" {
		t.Error(v)
	}
	broker.Shutdown()
	broker.WaitForShutdown()
	d.stderr.line(t, "NATS is away")
	if v := d.create("@refused:example.com"); v.status != 502 || v.Failure != "absent" {
		t.Errorf("%v; want the module to be absent", v)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if rsp, out := d.request("GET", path, nil); rsp.StatusCode != 503 {
			t.Errorf("%s: %s %s; want 503", path, rsp.Status, out)
		}
	}
	natstest.Start(t, &server.Options{Port: address.Port})
	d.stderr.line(t, "NATS is back")
	eventually(t, "the module is asked again", func() bool { return d.create("@refused:example.com").DecidedBy == "gate" })
	eventually(t, "busd is ready again", func() bool { rsp, _ := d.request("GET", "/readyz", nil); return rsp.StatusCode == 200 })
	gate.stop()
	d.stop()
}

func TestModulesJoinAgainWhenBusdIsRestarted(t *testing.T) {
	t.Parallel()
	for name, home := range map[string]func(*testing.T) (nats, config string){
		"with NATS in it": func(t *testing.T) (string, string) {
			address := freeAddress(t)
			return "nats://" + address, "nats: {listen: '" + address + "'}\n"
		},
		"beside NATS": func(t *testing.T) (string, string) {
			url := natstest.TCP(t).URL()
			return url, "nats: {url: '" + url + "'}\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, config := home(t)
			config += "modules: [{module: gate}]\n"
			gate := worker(t, url, "faulty", "gate")
			for range 2 {
				d := serve(t, config)
				contains(t, "the announcement", d.announce, "busd: ready")
				if v := d.create("@refused:example.com"); v.DecidedBy != "gate" {
					t.Error(v)
				}
				d.stop()
			}
			d := serve(t, config)
			contains(t, "the announcement", d.announce, "busd: ready")
			d.stop()
			gate.stop()
		})
	}
}

// TestTheFirstAskAfterARestartIsAskedOfModulesThatRun would find a busd that answers before modules have joined again, as
// if there were none.
func TestTheFirstAskAfterARestartIsAskedOfModulesThatRun(t *testing.T) {
	t.Parallel()
	home, address := natstest.TCP(t), freeAddress(t)
	config := "nats: {url: '" + home.URL() + "'}\nhttp: {listen: '" + address + "'}\nmodules: [{module: gate}]\n"
	worker(t, home.URL(), "faulty", "gate")
	serve(t, config).stop()
	for range 5 {
		d := prepare(t, config)
		d.url = "http://" + address
		d.start()
		var v verdict
		eventually(t, "busd answers", func() (answers bool) {
			var err error
			v, err = d.tryCreate("@refused:example.com")
			return err == nil
		})
		if v.DecidedBy != "gate" {
			t.Errorf("the first ask: %v", v)
		}
		d.announced()
		d.stop()
	}
}

func TestAConfigurationThatChangedWhileBusdWasDownIsTakenOver(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	config := "nats: {listen: '" + address + "'}\nmodules:\n  - module: demo\n    config: {deny: ['@evilguy:example.com']}\n"
	demo := worker(t, "nats://"+address, "demo-module", "demo")
	d := serve(t, config)
	if v := d.create("@evilguy:example.com"); !v.refused() {
		t.Error(v)
	}
	d.stop()
	d = serve(t, strings.ReplaceAll(config, "@evilguy", "@mallory"))
	eventually(t, "the new list holds", func() bool {
		return d.create("@mallory:example.com").refused() && !d.create("@evilguy:example.com").refused()
	})
	demo.stop()
	d.stop()
}

// TestTheComposeTopology is docker-compose.yml without containers: three NATS nodes, two busd, three workers.
func TestTheComposeTopology(t *testing.T) {
	t.Parallel()
	home := natstest.Cluster(t)
	config := "nats: {url: '" + strings.TrimSpace(home.URL()) + "'}\nmodules:\n  - module: demo\n    config: {deny: ['@evilguy:example.com']}\n"
	for range 3 {
		worker(t, home.URL(), "demo-module", "demo")
	}
	busds := []*daemon{serve(t, config), serve(t, config)}
	agree := func() {
		t.Helper()
		for _, d := range busds {
			eventually(t, "all workers are there", func() bool { return d.module("demo").Workers == 3 })
			eventually(t, "the decision is made", func() bool {
				refused, allowed := d.create("@evilguy:example.com"), d.create("@alice:example.com")
				for _, v := range []verdict{refused, allowed} {
					if v.status != 200 && v.Failure != "timeout" && v.Failure != "absent" {
						t.Errorf("%v; want a decision, or what a retry can do better", v)
					}
				}
				if refused.status == 200 && !refused.refused() || allowed.status == 200 && allowed.refused() {
					t.Errorf("decided wrongly: %v, %v", refused, allowed)
				}
				return refused.status == 200 && allowed.status == 200
			})
		}
	}
	agree()
	for _, node := range home.Servers[:2] {
		node.Shutdown()
		agree()
	}
	for _, d := range busds {
		d.stop()
	}
}
