package attacks_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// streamAttacks are on what JetStream keeps: records of decisions, news, and what modules store.
func streamAttacks() (all []attack) {
	for _, stream := range []string{bus.DecisionStream(), bus.NewsStream(victim), "KV_" + bus.StoreBucket(victim), "KV_" + bus.LeaseBucket(victim)} {
		for _, of := range []string{
			"STREAM.DELETE." + stream, "STREAM.PURGE." + stream, "STREAM.UPDATE." + stream, "STREAM.INFO." + stream, "STREAM.MSG.GET." + stream,
			"STREAM.MSG.DELETE." + stream, "STREAM.SNAPSHOT." + stream, "STREAM.RESTORE." + stream, "STREAM.LEADER.STEPDOWN." + stream,
			"STREAM.PEER.REMOVE." + stream, "DIRECT.GET." + stream, "CONSUMER.CREATE." + stream + ".spy", "CONSUMER.DURABLE.CREATE." + stream + ".spy",
			"CONSUMER.MSG.NEXT." + stream + ".spy", "CONSUMER.DELETE." + stream + ".spy", "CONSUMER.NAMES." + stream, "CONSUMER.PAUSE." + stream + ".spy",
		} {
			all = append(all, attack{touchStore, "$JS.API." + of, publish("$JS.API." + of)})
		}
		for _, subject := range []string{"$JS.ACK." + stream + ".spy.1.1.1.1.1", "$JS.FC." + stream + ".spy.1"} {
			all = append(all, attack{touchStore, subject, publish(subject)})
		}
	}
	return all
}

// managingAttacks have JetStream copy, send or tell what others have, which is all done by what it is asked to keep.
func managingAttacks() (all []attack) {
	questions := strings.Replace(bus.AskAny(), "ask.*.*", "cb.>", 1)
	for name, stream := range map[string]string{
		"subjects":         `{"name": "spy", "subjects": ["` + questions + `"]}`,
		"a mirror":         `{"name": "spy", "mirror": {"name": "KV_` + bus.StoreBucket(victim) + `"}}`,
		"a source":         `{"name": "spy", "sources": [{"name": "` + bus.DecisionStream() + `"}]}`,
		"a republish":      `{"name": "spy", "subjects": ["spy"], "republish": {"src": "spy", "dest": "` + bus.Leave(victim) + `"}}`,
		"a transform":      `{"name": "spy", "subjects": ["spy"], "subject_transform": {"src": "spy", "dest": "` + bus.Leave(victim) + `"}}`,
		"schedules":        `{"name": "spy", "subjects": ["spy"], "allow_msg_schedules": true}`,
		"an object bucket": `{"name": "OBJ_spy", "subjects": ["$O.spy.>"]}`,
	} {
		for _, how := range []string{"CREATE.spy", "UPDATE.KV_" + bus.StoreBucket(attacker)} {
			all = append(all, attack{useJetStream, "a stream with " + name, func(nc *nats.Conn) error { return nc.Publish("$JS.API.STREAM."+how, []byte(stream)) }})
		}
	}
	for _, subject := range []string{
		"INFO", "STREAM.NAMES", "STREAM.LIST", "CONSUMER.LIST.KV_" + bus.StoreBucket(attacker), "META.LEADER.STEPDOWN", "SERVER.REMOVE", "ACCOUNT.PURGE.x",
		"STREAM.MSG.GET.KV_" + bus.StoreBucket(attacker), "STREAM.PURGE.KV_" + bus.StoreBucket(attacker), "STREAM.DELETE.KV_" + bus.StoreBucket(attacker),
		"DIRECT.GET.KV_" + bus.StoreBucket(attacker), "DIRECT.GET.KV_" + bus.LeaseBucket(attacker),
		"CONSUMER.CREATE.KV_" + bus.StoreBucket(attacker) + ".spy", "CONSUMER.DURABLE.CREATE.KV_" + bus.StoreBucket(attacker) + ".spy",
	} {
		all = append(all, attack{useJetStream, subject, publish("$JS.API." + subject)})
	}
	return append(all,
		attack{useJetStream, "write an object", publish("$O.spy.C.x")},
		attack{useJetStream, "hear every object", subscribe("$O.>")},
		attack{useJetStream, "acknowledge for a consumer of its own", publish("$JS.ACK.KV_" + bus.StoreBucket(attacker) + ".spy.1.1.1.1.1")},
	)
}

// namedAttacks are by what a subject is called: wildcards, what NATS serves under names of its own, and what busd tells.
func namedAttacks() []attack {
	root, _, _ := strings.Cut(bus.AskAny(), "ask.")
	return []attack{
		{tellIt, "forge a record of a decision", publish(bus.Decision("refused", create.FullName()))},
		{hearTold, "hear what is handed to it", queue(bus.Decisions(victim), victim)},
		{hearTold, "hear records", subscribe(bus.Decision("*", "*"))},
		{useDoors, "be busd where the roster is asked for", subscribe(bus.Roster())},
		{beInItsGroup, "be busd where modules join", queue(bus.JoinAny(), "busd")},
		{beInItsGroup, "be busd where they leave", subscribe(bus.LeaveAny())},
		{beInItsGroup, "be busd where they ask for entries", subscribe(bus.EntryAny())},
		{hearQuestions, "hear every server's questions", subscribe("modulebus.*.cb.>")},
		{hearQuestions, "hear any two tokens", subscribe("*.*")},
		{hearQuestions, "hear all of the bus but its name", subscribe("*." + strings.TrimPrefix(root, "modulebus.") + ">")},
		{hearAnswers, "hear busd's inbox by a wildcard", subscribe("_INBOX_BUSD.*")},
		{hearAnswers, "hear inboxes by a wildcard", subscribe("*.*.module.*.inbox.>")},
		{hearAnswers, "hear answers that cross servers", subscribe("_R_.>")},
		{touchStore, "hear every store", subscribe("$KV.>")},
		{touchStore, "hear the victim's store in a group", queue("$KV."+bus.StoreBucket(victim)+".>", subjects.Group(attacker))},
		{useJetStream, "hear what JetStream is asked", subscribe("$JS.API.>")},
		{useJetStream, "hear acknowledgements", subscribe("$JS.ACK.>")},
		{useJetStream, "hear JetStream's advice", subscribe("$JS.EVENT.>")},
		{useSystem, "know who is connected", publish("$SYS.REQ.SERVER.PING.CONNZ")},
		{useSystem, "know the account's connections", publish("$SYS.REQ.ACCOUNT.PING.CONNZ")},
		{useSystem, "replace the account", publish("$SYS.REQ.CLAIMS.UPDATE")},
		{useSystem, "delete the account", publish("$SYS.REQ.CLAIMS.DELETE")},
		{useSystem, "disconnect somebody", publish("$SYS.REQ.SERVER.x.KICK")},
		{useSystem, "reload a server", publish("$SYS.REQ.SERVER.x.RELOAD")},
		{useSystem, "hear who connects", subscribe("$SYS.ACCOUNT.*.CONNECT")},
		{useSystem, "say who connects", publish("$SYS.ACCOUNT.x.CONNECT")},
		{useSystem, "say who was turned away", publish("$SYS.SERVER.x.CLIENT.AUTH.ERR")},
		{useSystem, "hear traces", subscribe("$NATS.>")},
		{useSystem, "be of the consensus of servers", publish("$NRG.V.x")},
		{useSystem, "hear the consensus of servers", subscribe("$NRG.>")},
		{useSystem, "hear JetStream's own", subscribe("$JSC.>")},
		{useSystem, "speak as a gateway", publish("$GR.x.x.x")},
		{useSystem, "speak as a leaf", publish("$LDS.x")},
		{beService, "hear all that services are asked", subscribe("$SRV.>")},
		{beService, "hear what all services of a kind are asked", subscribe("$SRV.*.*")},
		{beService, "look for services", publish("$SRV.PING")},
		{beService, "ask the victim's", publish("$SRV.INFO." + subjects.ServiceName(victim))},
	}
}

// repeatsWhatOthersSaid has the attacker send what the victim sent, on the subjects that it may publish to.
func repeatsWhatOthersSaid(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	before := d.Module(victim)
	worker := before.Processes[0].Worker
	nc := d.ConnectModule(attacker)
	for subject, m := range map[string]proto.Message{
		bus.Join(attacker):  &rosterv1.Join{Worker: worker, Callbacks: []string{create.FullName()}},
		bus.Leave(attacker): &rosterv1.Leave{Worker: worker},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.RequestWithContext(testbed.Bounded(t), subject, data); err != nil {
			t.Fatal(err)
		}
	}
	if after := d.Module(victim); after.Workers != before.Workers || after.Processes[0] != before.Processes[0] || !slices.Equal(after.Callbacks, before.Callbacks) {
		t.Errorf("the victim was %+v, and is %+v", before, after)
	}
}

// servesNoOthersPath has the attacker register paths of busd, of the homeserver and of the victim, and such as could become those.
func servesNoOthersPath(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	nc := d.ConnectModule(attacker)
	page := d.Module(victim).WebResources[0]
	paths := []string{
		page, page + "/below", page + "/", page + "/../" + attacker, page + "/%2e%2e", strings.ToUpper(page[:2]) + page[2:] + "/..", "/" + page, page + "%2fbelow",
		"/", "", "//", "/..", "/_modulebus", "/_modulebus/v1/modules", "/_modulebus/v1/ask/spam_checker/user_may_create_room", "/%5fmodulebus/v1", "/metrics",
		"/healthz", "/readyz", "/_matrix/policy/v1/sign", "/.well-known/matrix/policy_server", page + "\r\nX-Injected: 1", page + "\x00", "http://x" + page,
	}
	join, err := json.Marshal(map[string]any{"worker": "w", "web_resources": paths})
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: bus.Join(attacker), Header: nats.Header{"Content-Type": {"application/json"}}, Data: join}
	if _, err := nc.RequestMsgWithContext(testbed.Bounded(t), m); err != nil {
		t.Fatal(err)
	}
	for _, got := range d.Module(attacker).WebResources {
		if !strings.HasPrefix(got+"/", page+"/") || strings.ContainsAny(got, ".%\r\x00") {
			t.Errorf("the attacker has registered %q", got)
		}
	}
	for _, path := range []string{page, page + "/below"} { // What it registered is an earlier module's.
		if rsp, out := d.Request(http.MethodPost, path, []byte("hello")); string(out) != "{\"bytes\":5}\n" {
			t.Errorf("%s is answered %s, %q", path, rsp.Status, out)
		}
	}
}
