package busd_test

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
)

func TestBusdOnOneNATSSeeTheSameModules(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	config := "nats: {url: '" + home.URL() + "'}\nmodules: [{module: gate}]\n"
	gate := testbed.Worker(t, home.URL(), testbed.Faulty, "gate")
	first := testbed.Serve(t, config)
	second := testbed.Serve(t, config)
	for _, d := range []*testbed.Daemon{first, second} {
		contains(t, "the announcement", d.Announce, "busd: ready")
		if v := d.Create("@refused:example.com"); v.DecidedBy != "gate" {
			t.Error(v)
		}
		if m := d.Module("gate"); m.State != "ready" || m.Workers != 1 {
			t.Errorf("%+v", m)
		}
	}
	first.Stop()
	if v := second.Create("@refused:example.com"); v.DecidedBy != "gate" {
		t.Errorf("without the other busd: %v", v)
	}
	gate.Stop()
	testbed.Eventually(t, "the one that is left knows", func() bool { return second.Module("gate").State == "absent" })
	second.Stop()
}

// TestBusdForgetsNothingWhenASecondStarts would find asks that were not made, because the roster of a busd that has just
// started knows of nobody.
func TestBusdForgetsNothingWhenASecondStarts(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	config := "nats: {url: '" + home.URL() + "'}\nmodules: [{module: gate}]\n"
	testbed.Worker(t, home.URL(), testbed.Faulty, "gate")
	first := testbed.Serve(t, config)
	a := startAskers(first, 4)
	a.more(t, 50)
	for range 3 {
		second := testbed.Serve(t, config)
		a.more(t, 50)
		second.Stop()
	}
	a.more(t, 50)
	close(a.stop)
	a.owned.Wait()
	if len(a.failed) > 0 {
		t.Errorf("asks were not made, or failed: %v", a.failed)
	}
	first.Stop()
}

func TestAskOverNATSOutlivesOneOfTwoBusd(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	config := "nats: {url: '" + home.URL() + "'}\nmodules:\n  - module: gate\n    timeout: 30s\nbudget: 40s\n"
	testbed.Worker(t, home.URL(), testbed.Faulty, "gate")
	first, second := testbed.Serve(t, config), testbed.Serve(t, config)
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
				reply, err := nc.RequestMsgWithContext(testbed.Bounded(t), ask)
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
		testbed.Eventually(t, "asks are made", func() bool { return asked.Load() >= until || t.Failed() })
	}
	more()
	first.Stop()
	more()
	close(stop)
	asking.Wait()
	second.Stop()
}

func TestNATSMayGoAndComeBack(t *testing.T) {
	t.Parallel()
	address, err := net.ResolveTCPAddr("tcp", testbed.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	broker := natstest.Start(t, &server.Options{Port: address.Port})
	gate := testbed.Worker(t, broker.ClientURL(), testbed.Faulty, "gate")
	d := testbed.Serve(t, "nats: {url: '"+broker.ClientURL()+"'}\nmodules: [{module: gate}]\n")
	if v := d.Create("@refused:example.com"); v.DecidedBy != "gate" {
		t.Error(v)
	}
	broker.Shutdown()
	broker.WaitForShutdown()
	d.Stderr.Line(t, "NATS is away")
	if v := d.Create("@refused:example.com"); v.Status != 502 || v.Failure != "absent" {
		t.Errorf("%v; want the module to be absent", v)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if rsp, out := d.Request("GET", path, nil); rsp.StatusCode != 503 {
			t.Errorf("%s: %s %s; want 503", path, rsp.Status, out)
		}
	}
	natstest.Start(t, &server.Options{Port: address.Port})
	d.Stderr.Line(t, "NATS is back")
	testbed.Eventually(t, "the module is asked again", func() bool { return d.Create("@refused:example.com").DecidedBy == "gate" })
	testbed.Eventually(t, "busd is ready again", func() bool { rsp, _ := d.Request("GET", "/readyz", nil); return rsp.StatusCode == 200 })
	gate.Stop()
	d.Stop()
}

func TestModulesJoinAgainWhenBusdIsRestarted(t *testing.T) {
	t.Parallel()
	const modules = "modules: [{module: gate}]\n"
	for name, prepare := range map[string]func(*testing.T) *testbed.Daemon{
		"with NATS in it": func(t *testing.T) *testbed.Daemon { return testbed.PrepareAt(t, testbed.FreeAddress(t), modules) },
		"beside NATS": func(t *testing.T) *testbed.Daemon {
			d := testbed.Prepare(t, "nats: {url: '"+natstest.TCP(t).URL()+"'}\n"+modules)
			d.NATS = d.Config().NATS.URL
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := prepare(t)
			gate := d.Worker(testbed.Faulty, "gate")
			for range 3 {
				d = d.Again()
				contains(t, "the announcement", d.Announce, "busd: ready")
				if v := d.Create("@refused:example.com"); v.DecidedBy != "gate" {
					t.Error(v)
				}
				d.Stop()
			}
			gate.Stop()
		})
	}
}

// TestFirstAskAfterARestartReachesModulesThatRun would find a busd that answers before modules have joined again, as
// if there were none.
func TestFirstAskAfterARestartReachesModulesThatRun(t *testing.T) {
	t.Parallel()
	home, address := natstest.TCP(t), testbed.FreeAddress(t)
	config := "nats: {url: '" + home.URL() + "'}\nhttp: {listen: '" + address + "'}\nmodules: [{module: gate}]\n"
	testbed.Worker(t, home.URL(), testbed.Faulty, "gate")
	testbed.Serve(t, config).Stop()
	for range 5 {
		d := testbed.Prepare(t, config)
		d.URL = "http://" + address
		d.Start()
		var v testbed.Verdict
		testbed.Eventually(t, "busd answers", func() (answers bool) {
			var err error
			v, err = d.TryCreate("@refused:example.com")
			return err == nil && v.Status != 503 // It turns clients away for a moment.
		})
		if v.DecidedBy != "gate" {
			t.Errorf("the first ask: %v", v)
		}
		d.Announced()
		d.Stop()
	}
}

func TestConfigurationThatChangedWhileBusdWasDownIsTakenOver(t *testing.T) {
	t.Parallel()
	d := testbed.PrepareAt(t, testbed.FreeAddress(t), "modules:\n  - module: demo\n    config: {deny: ['@evilguy:example.com']}\n")
	demo := d.Worker(testbed.Demo, "demo")
	d.Start()
	d.Announced()
	if v := d.Create("@evilguy:example.com"); !v.Refused() {
		t.Error(v)
	}
	d.Stop()
	d.Edit("@evilguy", "@mallory")
	d = d.Again()
	testbed.Eventually(t, "the new list holds", func() bool {
		return d.Create("@mallory:example.com").Refused() && !d.Create("@evilguy:example.com").Refused()
	})
	demo.Stop()
	d.Stop()
}

// TestComposeTopology is docker-compose.yml without containers: three NATS nodes, two busd, three workers.
func TestComposeTopology(t *testing.T) {
	t.Parallel()
	home := natstest.Cluster(t)
	config := "nats: {url: '" + strings.TrimSpace(home.URL()) + "'}\nmodules:\n  - module: demo\n    config: {deny: ['@evilguy:example.com']}\n"
	for range 3 {
		testbed.Worker(t, home.URL(), testbed.Demo, "demo")
	}
	busds := []*testbed.Daemon{testbed.Serve(t, config), testbed.Serve(t, config)}
	agree := func() {
		t.Helper()
		for _, d := range busds {
			testbed.Eventually(t, "all workers are there", func() bool { return d.Module("demo").Workers == 3 })
			testbed.Eventually(t, "the decision is made", func() bool {
				refused, allowed := d.Create("@evilguy:example.com"), d.Create("@alice:example.com")
				for _, v := range []testbed.Verdict{refused, allowed} {
					if v.Status != 200 && v.Failure != "timeout" && v.Failure != "absent" {
						t.Errorf("%v; want a decision, or what a retry can do better", v)
					}
				}
				if refused.Status == 200 && !refused.Refused() || allowed.Status == 200 && allowed.Refused() {
					t.Errorf("decided wrongly: %v, %v", refused, allowed)
				}
				return refused.Status == 200 && allowed.Status == 200
			})
		}
	}
	agree()
	for _, node := range home.Servers[:2] {
		node.Shutdown()
		agree()
	}
	for _, d := range busds {
		d.Stop()
	}
}
