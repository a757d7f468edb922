package attacks_test

import (
	"errors"
	"fmt"
	"maps"
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

// step is a test of several things that are tried.
type step struct {
	row string
	try func(*testing.T, *testbed.Daemon)
}

// hostile are tests that a busd serves one after the other: each leaves it as it was, but for the last. What they try is a row of
// docs/attacks.md; the first two try many.
var hostile = []step{
	{"", touchesNothing},
	{"", isNoModule},
	{haveItSaid, saysNothingThroughOthers},
	{haveItSaid, saysNothingOutOfAStore},
	{haveItSaid, repeatsWhatOthersSaid},
	{callAPI, callsWhatItWasGranted},
	{servePages, answersNoOthersPage},
	{servePages, servesNoOthersPath},
	{answerFor, answersNothingForAnother},
	{comeIn, each(comesInByNoOtherWay)},
	{beAServer, each(speaksAsNoServer)},
	{logInAgain, each(changesNothingByLoggingInAgain)},
	{useHeaders, each(saysNothingByHeaders)},
	{writeLog, writesNoLineOfTheLog},
	{flood, each(floodsItself)},
	{comeInUnasked, staysOut},
}

// participant is one that is let in, has a subject that it may send to, and a place for answers.
type participant struct{ user, own, inbox string }

var participants = []participant{{attacker, bus.Entry(attacker), bus.Inbox(attacker, "w")}, {"--homeserver", bus.Roster(), nats.InboxPrefix + "w"}}

// each tries something as each participant.
func each(try func(*testing.T, *testbed.Daemon, participant)) func(*testing.T, *testbed.Daemon) {
	return func(t *testing.T, d *testbed.Daemon) {
		t.Helper()
		for _, p := range participants {
			try(t, d, p)
		}
	}
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
				t.Log(h.row)
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

// attack is one of a kind, which is a row of docs/attacks.md.
type attack struct {
	kind, name string
	try        func(*nats.Conn) error
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

// The kinds of attacks are the rows of docs/attacks.md.
const (
	hearQuestions = "Hear questions to another module"
	hearTold      = "Hear what another is told: its cancels, changes of its entry and of its store, records"
	hearAnswers   = "Hear answers to others: the inboxes of a module, a homeserver and busd"
	answerFor     = "Answer for another, or what nobody asked"
	beIt          = "Join, renew, leave or read an entry as another"
	tellIt        = "Tell another what only busd tells it"
	beInItsGroup  = "Be in another's queue group, or in busd's"
	servePages    = "Serve another's pages, or be in its streams or a gateway's"
	touchStore    = "Read, write or watch another's store, lease or stream"
	readFiles     = "Read or serve the files and the large questions that another is asked about"
	useJetStream  = "Have JetStream do it: streams, mirrors, consumers, transforms, objects"
	callAPI       = "Call the Module API as another, or without the grant"
	useDoors      = "Ask, hear the roster or forge it"
	useSystem     = "Use NATS's own: `$SYS`, traces, the cluster's subjects"
	beService     = "Be another's service of `$SRV`, or look for all"
	haveItSaid    = "Have busd or JetStream say it: reply subjects, what is stored, what others said before"
	comeIn        = "Come in by another way: tokens that are altered, borrowed, old or self-made, and passwords"
	beAServer     = "Speak as a server, a route, a leaf or a gateway; over WebSocket or MQTT"
	logInAgain    = "Log in again, as somebody else, on a connection that has come in"
	useHeaders    = "Send headers that NATS acts on: traces, schedules, line breaks"
	writeLog      = "Write a line of busd's log by a name"
	flood         = "Send 10,000 workers, joins, subscriptions or answers, and payloads at the limit"
	comeInUnasked = "Come in without credentials, or when not listed any more"
)

// attacks are what nobody but the victim, busd or an administrator may do.
func attacks() []attack {
	return []attack{
		{hearQuestions, "hear all", subscribe(">")},
		{hearQuestions, "hear the bus", subscribe("modulebus.>")},
		{hearQuestions, "hear the victim's questions", subscribe(bus.Callback(create, victim))},
		{hearQuestions, "hear the questions to its workers", subscribe(bus.WorkerAny(victim, "*"))},
		{hearTold, "hear its cancels", subscribe(bus.Cancel(victim))},
		{hearTold, "hear its entry change", subscribe(bus.Changed(victim))},
		{hearTold, "hear its store change", subscribe(bus.Stored(victim, ">"))},
		{hearAnswers, "hear its inbox", subscribe(bus.Inbox(victim, "*") + ".>")},
		{hearAnswers, "hear busd's inbox", subscribe("_INBOX_BUSD.>")},
		{answerFor, "answer what nobody asked", publish("_INBOX.guessed.1")},
		{answerFor, "answer it in its place", publish(bus.Inbox(victim, "w") + ".guessed")},
		{answerFor, "answer busd", publish("_INBOX_BUSD.guessed.1")},
		{beIt, "join as it", publish(bus.Join(victim))},
		{beIt, "leave as it", publish(bus.Leave(victim))},
		{beIt, "read its entry", publish(bus.Entry(victim))},
		{beIt, "join as everybody", publish(bus.JoinAny())},
		{tellIt, "tell it of its store", publish(bus.Stored(victim, "k"))},
		{tellIt, "change its entry", publish(bus.Changed(victim))},
		{tellIt, "hand it a record", publish(bus.Decisions(victim))},
		{beInItsGroup, "be in its queue group", queue(bus.Callback(create, victim), subjects.Group(victim))},
		{beInItsGroup, "be in its queue group by a wildcard", queue("modulebus.*.cb.*.*."+victim, subjects.Group(victim))},
		{beInItsGroup, "be in a group on all", queue(">", subjects.Group(attacker))},
		{beInItsGroup, "be busd at the ask door", queue(bus.AskAny(), "busd")},
		{servePages, "serve its pages", queue(strings.Replace(bus.Join(victim), "module."+victim+".join", "web.1."+victim+".*", 1), subjects.Group(victim))},
		{servePages, "answer in its page's streams", publish(bus.GatewayStream(subjects.Process(victim, "gateway"), subjects.Bulk, "guessed"))},
		{touchStore, "open its store", publish(bus.Store(victim))},
		{touchStore, "write its store", publish("$KV." + bus.StoreBucket(victim) + ".k")},
		{touchStore, "read its store", publish("$JS.API.DIRECT.GET.KV_" + bus.StoreBucket(victim))},
		{touchStore, "take its lease", publish("$KV." + bus.LeaseBucket(victim) + ".k")},
		{touchStore, "take the lease that its workers use, or delete it", publish("$KV." + bus.LeaseBucket(victim) + ".leader")},
		{touchStore, "read who leads it", publish("$JS.API.DIRECT.GET.KV_" + bus.LeaseBucket(victim) + ".$KV." + bus.LeaseBucket(victim) + ".leader")},
		{touchStore, "hear who leads it", subscribe("$KV." + bus.LeaseBucket(victim) + ".>")},
		{readFiles, "read a file of its question", publish(bus.File(victim, "client", "guessed"))},
		{callAPI, "call the Module API as it", publish(strings.Replace(bus.Join(victim), ".join", ".api.is_user_admin", 1))},
		{useDoors, "forge the roster", publish(bus.RosterChanged())},
		{useSystem, "hear the servers", subscribe("$SYS.>")},
		{useSystem, "ask the servers", publish("$SYS.REQ.SERVER.PING")},
		{useJetStream, "make a stream", publish("$JS.API.STREAM.CREATE.spy")},
		{beService, "be its service", subscribe("$SRV.PING." + subjects.ServiceName(victim))},
	}
}

// moduleAttacks are what a homeserver may do, and a module may not.
func moduleAttacks() []attack {
	return []attack{
		{useDoors, "ask the victim", publish(bus.Callback(create, victim))},
		{useDoors, "ask through busd", publish(bus.Ask(create))},
		{useDoors, "get the roster", publish(bus.Roster())},
		{useDoors, "hear the roster", subscribe(bus.RosterChanged())},
		{tellIt, "cancel what it was asked", publish(bus.Cancel(victim))},
		{hearAnswers, "hear a homeserver's inbox", subscribe("_INBOX.>")},
		{readFiles, "serve files of all", subscribe(bus.FileAny("client"))},
		{readFiles, "serve files of its own", subscribe(bus.File(attacker, "client", "guessed"))},
		{servePages, "hear a gateway's streams", subscribe(strings.Replace(bus.AskAny(), "ask.*.*", "webg.1.>", 1))},
		{servePages, "send a worker frames", publish(strings.Replace(bus.AskAny(), "ask.*.*", "webw.1."+victim+".x", 1))},
		{useJetStream, "make a consumer of its own store", publish("$JS.API.CONSUMER.CREATE.KV_" + bus.StoreBucket(attacker))},
		{useJetStream, "change the stream of its own store", publish("$JS.API.STREAM.UPDATE.KV_" + bus.StoreBucket(attacker))},
		{beInItsGroup, "be in another's group on its own questions", queue(bus.Callback(create, attacker), subjects.Group(victim))},
	}
}

// asModule and asHomeserver are the attacks that permissions end.
func asModule() []attack { return append(asHomeserver(), moduleAttacks()...) }

func asHomeserver() []attack {
	return slices.Concat(attacks(), namedAttacks(), streamAttacks(), managingAttacks())
}

// refused wants NATS to refuse each attack.
func refused(t *testing.T, connect func(...nats.Option) *nats.Conn, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		nc := connect(nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err := a.try(nc); err != nil {
			t.Errorf("%s: %s: %v", a.kind, a.name, err)
		}
		if err := nc.Flush(); err != nil || !errors.Is(nc.LastError(), nats.ErrPermissionViolation) {
			t.Errorf("%s: %s: it succeeded (%v, %v)", a.kind, a.name, err, nc.LastError())
		}
		nc.Close()
	}
}

func touchesNothing(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	file := d.Credentials(attacker)
	refused(t, func(o ...nats.Option) *nats.Conn { return d.ConnectWith(file, append(o, nats.Name(attacker+"/w"))...) },
		asModule())
	if d.Config().NATS.URL == "" {
		d.Stderr.Line(t, "Violation", attacker+"/w") // A cluster's own log says it there.
	}
}

func isNoModule(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	file := d.Credentials("--homeserver")
	refused(t, func(o ...nats.Option) *nats.Conn { return d.ConnectWith(file, o...) },
		asHomeserver())
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

// floods are what comes ten thousand times, of whoever may send it.
var floods = map[string]func(nc *nats.Conn, p participant, i int) error{
	"subscriptions": func(nc *nats.Conn, p participant, i int) error {
		_, err := nc.SubscribeSync(p.inbox + "." + strconv.Itoa(i))
		return err
	},
	"payloads at the limit": func(nc *nats.Conn, p participant, i int) error {
		if i%100 != 0 {
			return nil
		}
		return nc.Publish(p.own, make([]byte, 1<<20-1024))
	},
	"requests that are not read": func(nc *nats.Conn, p participant, i int) error {
		return nc.PublishRequest(p.own, p.inbox+"."+strconv.Itoa(i), nil)
	},
}

// moduleFloods are floods of a module alone: NATS refuses each message of them to a homeserver.
var moduleFloods = map[string]func(nc *nats.Conn, p participant, i int) error{
	"workers": func(nc *nats.Conn, _ participant, i int) error {
		return say(nc, bus.Join(attacker), fmt.Sprintf(`{"worker":"w%d","callbacks":["spam_checker.user_may_create_room"]}`, i))
	},
	"joins": func(nc *nats.Conn, _ participant, i int) error {
		return say(nc, []string{bus.Join(attacker), bus.Leave(attacker)}[i%2], `{"worker":"w"}`)
	},
	"answers": func(nc *nats.Conn, _ participant, i int) error {
		return nc.Publish("_INBOX.guessed."+strconv.Itoa(i), nil)
	},
}

func say(nc *nats.Conn, subject, text string) error {
	return nc.PublishMsg(&nats.Msg{Subject: subject, Header: nats.Header{"Content-Type": {"application/json"}}, Data: []byte(text)})
}

// floodsItself has somebody do ten thousand of everything.
func floodsItself(t *testing.T, d *testbed.Daemon, p participant) {
	t.Helper()
	const many = 10_000
	before := resident(t, d)
	file := d.Credentials(p.user)
	all := maps.Clone(floods)
	if p.user == attacker {
		maps.Copy(all, moduleFloods)
	}
	for name, one := range all {
		nc := d.ConnectWith(file, nats.Name(attacker+"/w"), nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		for i := range many {
			if one(nc, p, i) != nil { // NATS has closed the connection.
				break
			}
		}
		_ = nc.Flush()
		if v := d.Create("@refused:example.com"); v.DecidedBy != victim {
			t.Errorf("during a flood of %s of %s: %v", name, p.user, v)
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
