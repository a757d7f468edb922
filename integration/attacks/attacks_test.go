package attacks_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/subjects"
)

var bus = subjects.For("example.com")

// create is the callback that the victim answers.
var create = subjects.UserMayCreateRoom.Declaration

const (
	victim   = "gate"
	attacker = "mallory"
)

// hostile are tests that a busd serves one after the other: each leaves it as it was, but for the last.
var hostile = []struct {
	name string
	try  func(*testing.T, *testbed.Daemon)
}{
	{"a module touches nothing of another", touchesNothing},
	{"a homeserver is no module", isNoModule},
	{"nothing is said through others", saysNothingThroughOthers},
	{"what is stored is not said", saysNothingOutOfAStore},
	{"a module calls what it was granted", callsWhatItWasGranted},
	{"a page is answered by its module", answersNoOthersPage},
	{"an answer is the asked one's", answersNothingForAnother},
	{"what others said says nothing again", repeatsWhatOthersSaid},
	{"a path is its module's", servesNoOthersPath},
	{"a flood is the flooder's alone", floodsItself},
	{"strangers do not come in", staysOut},
}

// TestHostileParticipantsGetNowhere tries everything in each home of NATS, with a victim that busd runs and an attacker that is
// listed. Whatever is tried, the victim is asked, and decides.
func TestHostileParticipantsGetNowhere(t *testing.T) {
	t.Parallel()
	modules := "modules:\n  - module: " + victim + "\n    run: [" + testbed.Program(t, testbed.Faulty) + "]\n    timeout: 20s\n" +
		"    grants: [" + strings.Join(subjects.Scopes(), ", ") + "]\n  - module: " + attacker + "\n    on_failure: skip\nbudget: 30s\n"
	for name, serve := range map[string]func(*testing.T) *testbed.Daemon{
		"embedded": func(t *testing.T) *testbed.Daemon { return testbed.Serve(t, modules) },
		"external": func(t *testing.T) *testbed.Daemon { return external(t, modules) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := serve(t)
			asked(t, d)
			for _, h := range hostile {
				t.Log(h.name)
				h.try(t, d)
				asked(t, d)
			}
		})
	}
}

// external is a busd on three nodes that have what it prints.
func external(t *testing.T, modules string) *testbed.Daemon {
	t.Helper()
	state := "state_dir: '" + t.TempDir() + "'\n"
	d := testbed.Prepare(t, state+modules)
	status, text, problem := testbed.Run(t, "nats-config", "--config", d.File)
	if status != 0 {
		t.Fatal(problem)
	}
	d = testbed.Serve(t, state+"nats: {url: '"+natstest.Configured(t, text).URL()+"'}\n"+modules)
	d.Guarded = true
	return d
}

// asked wants the victim to be asked, and to decide.
func asked(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	testbed.Eventually(t, "the victim is asked", func() bool { return d.Create("@refused:example.com").DecidedBy == victim })
}

type attack struct {
	name string
	try  func(*nats.Conn) error
}

func subscribe(subject string) func(*nats.Conn) error {
	return func(nc *nats.Conn) error { _, err := nc.SubscribeSync(subject); return err }
}

func queue(subject, group string) func(*nats.Conn) error {
	return func(nc *nats.Conn) error { _, err := nc.QueueSubscribeSync(subject, group); return err }
}

func publish(subject string) func(*nats.Conn) error {
	return func(nc *nats.Conn) error { return nc.Publish(subject, []byte("forged")) }
}

// attacks are what nobody but the victim, busd or an administrator may do.
func attacks() []attack {
	return []attack{
		{"hear all", subscribe(">")},
		{"hear the bus", subscribe("modulebus.>")},
		{"hear the victim's questions", subscribe(bus.Callback(create, victim))},
		{"hear the questions to its workers", subscribe(bus.WorkerAny(victim, "*"))},
		{"be in its queue group", queue(bus.Callback(create, victim), subjects.Group(victim))},
		{"hear its cancels", subscribe(bus.Cancel(victim))},
		{"hear its entry change", subscribe(bus.Changed(victim))},
		{"hear its inbox", subscribe(bus.Inbox(victim, "*") + ".>")},
		{"hear its store", subscribe(bus.Stored(victim, ">"))},
		{"hear busd's inbox", subscribe("_INBOX_BUSD.>")},
		{"join as it", publish(bus.Join(victim))},
		{"leave as it", publish(bus.Leave(victim))},
		{"read its entry", publish(bus.Entry(victim))},
		{"open its store", publish(bus.Store(victim))},
		{"write its store", publish("$KV." + bus.StoreBucket(victim) + ".k")},
		{"read its store", publish("$JS.API.DIRECT.GET.KV_" + bus.StoreBucket(victim))},
		{"take its lease", publish("$KV." + bus.LeaseBucket(victim) + ".k")},
		{"call the Module API as it", publish(strings.Replace(bus.Join(victim), ".join", ".api.is_user_admin", 1))},
		{"serve its pages", queue(strings.Replace(bus.Join(victim), "module."+victim+".join", "web.1."+victim+".*", 1), subjects.Group(victim))},
		{"forge the roster", publish(bus.RosterChanged())},
		{"be busd at the ask door", queue(bus.AskAny(), "busd")},
		{"hear the servers", subscribe("$SYS.>")},
		{"ask the servers", publish("$SYS.REQ.SERVER.PING")},
		{"make a stream", publish("$JS.API.STREAM.CREATE.spy")},
		{"make a consumer", publish("$JS.API.CONSUMER.CREATE.KV_" + bus.StoreBucket(victim))},
		{"be a service", subscribe("$SRV.PING." + subjects.ServiceName(victim))},
		{"answer what nobody asked", publish("_INBOX.guessed.1")},
		{"answer it in its place", publish(bus.Inbox(victim, "w") + ".guessed")},
		{"answer busd", publish("_INBOX_BUSD.guessed.1")},
		{"answer in its page's streams", publish(bus.GatewayStream(subjects.Process(victim, "gateway"), subjects.Bulk, "guessed"))},
		{"tell it of its store", publish(bus.Stored(victim, "k"))},
		{"change its entry", publish(bus.Changed(victim))},
	}
}

// moduleAttacks are what a homeserver may do, and a module may not.
func moduleAttacks() []attack {
	return []attack{
		{"ask the victim", publish(bus.Callback(create, victim))},
		{"ask through busd", publish(bus.Ask(create))},
		{"get the roster", publish(bus.Roster())},
		{"hear the roster", subscribe(bus.RosterChanged())},
		{"hear a homeserver's inbox", subscribe("_INBOX.>")},
		{"hear a gateway's streams", subscribe(strings.Replace(bus.AskAny(), "ask.*.*", "webg.1.>", 1))},
		{"make a consumer of its own", publish("$JS.API.CONSUMER.CREATE.KV_" + bus.StoreBucket(attacker))},
		{"make a stream for its store", publish("$JS.API.STREAM.UPDATE.KV_" + bus.StoreBucket(attacker))},
		{"be in its own queue group with another's name", queue(bus.Callback(create, attacker), subjects.Group(victim))},
	}
}

// refused wants NATS to refuse each attack.
func refused(t *testing.T, connect func(...nats.Option) *nats.Conn, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		nc := connect(nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err := a.try(nc); err != nil {
			t.Errorf("%s: %v", a.name, err)
		}
		if err := nc.Flush(); err != nil || !errors.Is(nc.LastError(), nats.ErrPermissionViolation) {
			t.Errorf("%s: it succeeded (%v, %v)", a.name, err, nc.LastError())
		}
		nc.Close()
	}
}

func touchesNothing(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	file := d.Credentials(attacker)
	refused(t, func(o ...nats.Option) *nats.Conn { return d.ConnectWith(file, append(o, nats.Name(attacker+"/w"))...) },
		slices.Concat(attacks(), moduleAttacks(), namedAttacks(), streamAttacks()))
	if d.Config().NATS.URL == "" {
		d.Stderr.Line(t, "Violation", attacker+"/w") // A cluster's own log says it there.
	}
}

func isNoModule(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	file := d.Credentials("--homeserver")
	refused(t, func(o ...nats.Option) *nats.Conn { return d.ConnectWith(file, o...) },
		slices.Concat(attacks(), namedAttacks(), streamAttacks()))
}

func staysOut(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	if nc, err := nats.Connect(d.NATS, nats.Name("anonymous")); err == nil {
		nc.Close()
		t.Error("a client without credentials came in")
	}
	d.Stderr.Line(t, "a client without credentials")
	file := d.Credentials(attacker)
	d.Edit("  - module: "+attacker+"\n    on_failure: skip\n", "")
	testbed.Eventually(t, "a module that is not listed any more is turned away", func() bool {
		nc, err := nats.Connect(d.NATS, nats.UserCredentials(file))
		if err == nil {
			nc.Close()
		}
		return err != nil
	})
	d.Stderr.Line(t, "a module that is not listed", "module "+attacker)
}

func saysNothingThroughOthers(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	nc := d.ConnectModule(attacker, nats.NoReconnect())
	spy := d.Connect()
	targets := []string{bus.RosterChanged(), bus.Leave(victim), bus.Callback(create, "third"), "$JS.API.STREAM.DELETE.records"}
	heard := listen(t, spy, targets)
	for _, target := range targets {
		for _, request := range []string{bus.Entry(attacker), bus.Join(attacker), bus.Leave(attacker), bus.Store(attacker)} {
			if err := nc.PublishRequest(request, target, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := nc.RequestWithContext(testbed.Bounded(t), bus.Entry(attacker), nil); err != nil { // All before it was looked at.
		t.Fatal(err)
	}
	d.Stderr.Line(t, "wants its answer sent to somebody else", attacker)
	for _, sub := range heard {
		for n, _, _ := sub.Pending(); n > 0; n-- {
			m, err := sub.NextMsgWithContext(testbed.Bounded(t))
			if err == nil && m.Subject != bus.RosterChanged() {
				t.Errorf("%s was told %q", sub.Subject, m.Data)
			}
		}
	}
}

// listen subscribes to each of the subjects.
func listen(t *testing.T, nc *nats.Conn, to []string) (all []*nats.Subscription) {
	t.Helper()
	for _, subject := range to {
		sub, err := nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, sub)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return all
}

// floodsItself has a listed module do ten thousand of everything.
func floodsItself(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	const many = 10_000
	before := resident(t, d)
	file := d.Credentials(attacker)
	connect := func() *nats.Conn {
		return d.ConnectWith(file, nats.Name(attacker+"/w"), nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	}
	big := make([]byte, 1<<20-1024)
	for name, flood := range map[string]func(nc *nats.Conn, i int) error{
		"joins": func(nc *nats.Conn, i int) error {
			m := &nats.Msg{Subject: bus.Join(attacker), Header: nats.Header{"Content-Type": {"application/json"}}}
			m.Data = fmt.Appendf(nil, `{"worker":"w%d","callbacks":["spam_checker.user_may_create_room"]}`, i)
			return nc.PublishMsg(m)
		},
		"coming and going": func(nc *nats.Conn, i int) error {
			m := &nats.Msg{Subject: []string{bus.Join(attacker), bus.Leave(attacker)}[i%2], Header: nats.Header{"Content-Type": {"application/json"}}}
			m.Data = []byte(`{"worker":"w"}`)
			return nc.PublishMsg(m)
		},
		"subscriptions": func(nc *nats.Conn, i int) error {
			_, err := nc.SubscribeSync(bus.Inbox(attacker, "w") + "." + strconv.Itoa(i))
			return err
		},
		"answers": func(nc *nats.Conn, i int) error { return nc.Publish("_INBOX.guessed."+strconv.Itoa(i), nil) },
		"payloads at the limit": func(nc *nats.Conn, i int) error {
			if i%100 != 0 {
				return nil
			}
			return nc.Publish(bus.Join(attacker), big)
		},
	} {
		nc := connect()
		for i := range many {
			if flood(nc, i) != nil { // NATS has closed the connection.
				break
			}
		}
		_ = nc.Flush()
		if v := d.Create("@refused:example.com"); v.DecidedBy != victim {
			t.Errorf("during a flood of %s: %v", name, v)
		}
		nc.Close()
	}
	most := 256 << 20
	if testbed.RaceDetector { // It remembers what was done to each byte.
		most *= 4
	}
	if grown := resident(t, d) - before; grown > most {
		t.Errorf("busd has grown by %d MiB", grown>>20)
	}
}

// resident is the memory that busd has, in bytes.
func resident(t *testing.T, d *testbed.Daemon) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", d.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
