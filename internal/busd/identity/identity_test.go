package identity_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/subjects"
)

const serverName = "example.com"

var bus = subjects.For(serverName)

// broker is a server of NATS that knows the keys of a bus.
type broker struct {
	t      *testing.T
	keys   *identity.Keys
	server *server.Server
}

func newBroker(t *testing.T, listed ...string) *broker {
	t.Helper()
	keys, err := identity.Open(t.TempDir(), serverName)
	must(t, err)
	o := &server.Options{}
	must(t, keys.Trust(o, listed))
	return &broker{t, keys, natstest.Start(t, o)}
}

// list has the server turn away who is not listed, or has old credentials.
func (b *broker) list(names ...string) {
	b.t.Helper()
	account, err := b.keys.Account(names)
	must(b.t, err)
	must(b.t, identity.Tell(b.server, account))
}

func (b *broker) credentials(u identity.User) []byte {
	b.t.Helper()
	text, err := b.keys.Credentials(u)
	must(b.t, err)
	return text
}

func (b *broker) connect(credentials []byte, more ...nats.Option) (*nats.Conn, error) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "creds")
	must(b.t, os.WriteFile(file, credentials, 0o600))
	nc, err := nats.Connect(b.server.ClientURL(), append(more, nats.UserCredentials(file))...)
	if err == nil {
		b.t.Cleanup(nc.Close)
	}
	return nc, err
}

// user connects, for one test.
func (b *broker) user(u identity.User) *nats.Conn {
	b.t.Helper()
	nc, err := b.connect(b.credentials(u), nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	must(b.t, err)
	return nc
}

// may reports whether the server lets a new connection of the user do something.
func (b *broker) may(u identity.User, do func(*nats.Conn) error) bool {
	b.t.Helper()
	nc := b.user(u)
	must(b.t, do(nc))
	must(b.t, nc.Flush())
	return !errors.Is(nc.LastError(), nats.ErrPermissionViolation)
}

func subscribe(subject string) func(*nats.Conn) error {
	return func(nc *nats.Conn) error { _, err := nc.SubscribeSync(subject); return err }
}

func queue(subject, group string) func(*nats.Conn) error {
	return func(nc *nats.Conn) error { _, err := nc.QueueSubscribeSync(subject, group); return err }
}

func publish(subject string) func(*nats.Conn) error {
	return func(nc *nats.Conn) error { return nc.Publish(subject, nil) }
}

func TestModuleCredentialsPermitWhatIsTheModulesOwn(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "gate", "other")
	asked := bus.Callback(subjects.UserMayCreateRoom.Declaration, "gate")
	others := bus.Callback(subjects.UserMayCreateRoom.Declaration, "other")
	for name, c := range map[string]struct {
		do   func(*nats.Conn) error
		want bool
	}{
		"its questions, in its queue group":   {queue(asked, "gate"), true},
		"its questions, outside of its group": {subscribe(asked), false},
		"its questions, in another group":     {queue(asked, "other"), false},
		"questions to one of its workers":     {subscribe(bus.WorkerAny("gate", "w")), true},
		"another's questions":                 {queue(others, "gate"), false},
		"all questions":                       {subscribe("modulebus.>"), false},
		"another's cancels":                   {subscribe(bus.Cancel("other")), false},
		"another's inbox":                     {subscribe(bus.Inbox("other", "w") + ".>"), false},
		"a homeserver's inbox":                {subscribe("_INBOX.>"), false},
		"the roster":                          {subscribe(bus.RosterChanged()), false},
		"joining":                             {publish(bus.Join("gate")), true},
		"joining as another":                  {publish(bus.Join("other")), false},
		"leaving as another":                  {publish(bus.Leave("other")), false},
		"another's entry":                     {publish(bus.Entry("other")), false},
		"a forged roster":                     {publish(bus.RosterChanged()), false},
		"an answer nobody asked for":          {publish("_INBOX.x"), false},
		"asking":                              {publish(bus.Ask(subjects.UserMayCreateRoom.Declaration)), false},
		"asking another module":               {publish(others), false},
		"JetStream":                           {publish("$JS.API.INFO"), false},
		"the servers":                         {publish("$SYS.REQ.SERVER.PING"), false},
	} {
		if got := b.may(identity.Module("gate"), c.do); got != c.want {
			t.Errorf("%s: permitted %v, want %v", name, got, c.want)
		}
	}
}

func TestModuleCredentialsPermitOneAnswerToEachQuestion(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "gate")
	gate, homeserver := b.user(identity.Module("gate")), b.user(identity.Homeserver)
	asked := bus.Callback(subjects.UserMayCreateRoom.Declaration, "gate")
	_, err := gate.QueueSubscribe(asked, "gate", func(m *nats.Msg) { _ = m.Respond([]byte("one")); _ = m.Respond([]byte("two")) })
	must(t, err)
	must(t, gate.Flush())
	reply, err := homeserver.Request(asked, nil, 10*time.Second)
	must(t, err)
	if string(reply.Data) != "one" {
		t.Errorf("the answer is %q", reply.Data)
	}
	must(t, gate.Flush())
	if !errors.Is(gate.LastError(), nats.ErrPermissionViolation) {
		t.Errorf("the second answer was let through: %v", gate.LastError())
	}
}

func TestStrangersAreTurnedAway(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "gate")
	if _, err := nats.Connect(b.server.ClientURL()); err == nil {
		t.Error("a client without credentials came in")
	}
	other := newBroker(t, "gate")
	if _, err := b.connect(other.credentials(identity.Module("gate"))); err == nil {
		t.Error("credentials of another bus were accepted")
	}
}

func TestModuleThatIsNotListedIsTurnedAway(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "gate")
	gate := b.user(identity.Module("gate"))
	closed := gate.StatusChanged(nats.CLOSED)
	b.list()
	<-closed
	if _, err := b.connect(b.credentials(identity.Module("gate"))); err == nil {
		t.Error("a module that left the roster came back")
	}
	b.list("gate")
	if _, err := b.connect(b.credentials(identity.Module("gate"))); err != nil {
		t.Errorf("a module that is listed again is turned away: %v", err)
	}
}

func TestReplacedCredentialsAreTurnedAwayOnceRetired(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "gate")
	old := b.credentials(identity.Module("gate"))
	latest, err := b.keys.Rotate(identity.Module("gate"))
	must(t, err)
	b.list("gate")
	for name, text := range map[string][]byte{"old": old, "latest": latest} {
		if _, err := b.connect(text); err != nil {
			t.Errorf("before they are retired, the %s credentials are turned away: %v", name, err)
		}
	}
	must(t, b.keys.Retire(identity.Module("gate")))
	b.list("gate")
	if _, err := b.connect(old); err == nil {
		t.Error("retired credentials were accepted")
	}
	if _, err := b.connect(latest); err != nil {
		t.Errorf("the latest credentials are turned away: %v", err)
	}
	if text := b.credentials(identity.Module("gate")); public(t, text) != public(t, latest) {
		t.Error("the latest credentials are not what is handed out now")
	}
}

// public is whose the credentials are, whenever they were made.
func public(t *testing.T, credentials []byte) string {
	t.Helper()
	key, err := nkeys.ParseDecoratedUserNKey(credentials)
	must(t, err)
	public, err := key.PublicKey()
	must(t, err)
	return public
}

func TestKeysAreThoseOfTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := identity.Open(dir, serverName)
	must(t, err)
	second, err := identity.Open(dir, serverName)
	must(t, err)
	one, err := first.Account(nil)
	must(t, err)
	two, err := second.Account(nil)
	must(t, err)
	if one.ID != two.ID {
		t.Error("opening the folder again made other keys")
	}
	for _, file := range []string{"operator.nk", "account.nk", "system.nk"} {
		info, err := os.Stat(filepath.Join(dir, file))
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
}

func TestClusterTakesUsersByTheServerConfig(t *testing.T) {
	t.Parallel()
	keys, err := identity.Open(t.TempDir(), serverName)
	must(t, err)
	text, err := keys.ServerConfig([]string{"gate"})
	must(t, err)
	nodes := startCluster(t, text)
	connect := func(u identity.User, i int) (*nats.Conn, error) {
		b := &broker{t, keys, nodes[i]}
		return b.connect(b.credentials(u), nats.NoReconnect())
	}
	gate, err := connect(identity.Module("gate"), 1)
	must(t, err)
	closed := gate.StatusChanged(nats.CLOSED)
	system, err := connect(identity.System, 0)
	must(t, err)
	account, err := keys.Account(nil)
	must(t, err)
	must(t, identity.Push(t.Context(), system, account))
	<-closed
	for i := range nodes {
		if _, err := connect(identity.Module("gate"), i); err == nil {
			t.Errorf("node %d takes a module that left the roster", i)
		}
		if _, err := connect(identity.Busd, i); err != nil {
			t.Errorf("node %d turns busd away: %v", i, err)
		}
	}
}

// startCluster starts three servers with a configuration.
func startCluster(t *testing.T, text string) (nodes []*server.Server) {
	t.Helper()
	for range 3 {
		dir := t.TempDir()
		file := filepath.Join(dir, "nats.conf")
		must(t, os.WriteFile(file, []byte(strings.Replace(text, `dir: "`, `dir: "`+dir+"/", 1)), 0o600))
		o, err := server.ProcessConfigFile(file)
		must(t, err)
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT}
		if len(nodes) > 0 {
			o.Routes = server.RoutesFromStr("nats://" + nodes[0].ClusterAddr().String())
		}
		nodes = append(nodes, natstest.Start(t, o))
	}
	for _, node := range nodes {
		for node.NumRoutes() == 0 {
			runtime.Gosched()
		}
	}
	return nodes
}

func TestDamagedFilesAreNamed(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"account.nk", "users.json"} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, file), []byte("garbage"), 0o600))
		keys, err := identity.Open(dir, serverName)
		if err == nil {
			_, err = keys.Credentials(identity.Admin)
		}
		if err == nil {
			t.Errorf("%s is garbage, and nobody noticed", file)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUsersThatAreEnlistedAtOnceAreWrittenOnce(t *testing.T) {
	t.Parallel()
	k, err := identity.Open(t.TempDir(), "example.com")
	if err != nil {
		t.Fatal(err)
	}
	gate, other := identity.Module("gate"), identity.Module("other")
	if err := k.Enlist(gate, other); err != nil {
		t.Fatal(err)
	}
	before := k.Version()
	for _, u := range []identity.User{gate, other} {
		if _, err := k.Credentials(u); err != nil {
			t.Fatal(err)
		}
	}
	if k.Version() != before {
		t.Error("credentials of somebody who was enlisted were recorded once more")
	}
	account, err := k.Account([]string{"gate"})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := account.Claims()
	if err != nil || len(claims.Revocations) != 1 {
		t.Errorf("turned away are %v, %v; want the module that is not listed", claims, err)
	}
}

// TestRecordThatAnotherProcessReplacesIsSeen has the new one be of the same size, and written in the same tick of the clock.
func TestRecordThatAnotherProcessReplacesIsSeen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, err := identity.Open(dir, serverName)
	must(t, err)
	first, err := k.Credentials(identity.Module("gate"))
	must(t, err)
	file := filepath.Join(dir, "users.json")
	info, err := os.Stat(file)
	must(t, err)
	text, err := os.ReadFile(file)
	must(t, err)
	_, err = k.Credentials(identity.Module("gate")) // From here on, the record is known.
	must(t, err)
	must(t, os.WriteFile(file+".new", bytes.Replace(text, []byte(`"current": 0`), []byte(`"current": 1`), 1), 0o600))
	must(t, os.Chtimes(file+".new", info.ModTime(), info.ModTime()))
	must(t, os.Rename(file+".new", file))
	if second, err := k.Credentials(identity.Module("gate")); err != nil || public(t, first) == public(t, second) {
		t.Errorf("credentials that were replaced are given out: %v", err)
	}
}
