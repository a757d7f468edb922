package broker_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/modulebus/modulebus/internal/busd/broker"
	"github.com/modulebus/modulebus/internal/busd/certs/certstest"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/freeport"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// embedded is an embedded NATS.
type embedded struct {
	*broker.Broker
	admin nats.Option // credentials for it
}

// inside is one on a free port.
func inside(t *testing.T, c config.NATS, store string) embedded {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:-1"
	}
	k := keys(t, t.TempDir())
	b, err := broker.Open(broker.Options{NATS: c, Keys: k, StoreDir: store, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return embedded{b, admin(t, k)}
}

func admin(t *testing.T, k *identity.Keys) nats.Option {
	t.Helper()
	login, err := k.Login(identity.Admin)
	if err != nil {
		t.Fatal(err)
	}
	return login
}

func keys(t *testing.T, dir string) *identity.Keys {
	t.Helper()
	k, err := identity.Open(dir, "example.com")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// connect is a module's connection.
func connect(t *testing.T, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// meets sees that what one connection asks is answered on another.
func meets(t *testing.T, a, b *nats.Conn) {
	t.Helper()
	sub, err := a.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(m.Data) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	if m, err := b.RequestWithContext(t.Context(), "echo", []byte("hello")); err != nil || string(m.Data) != "hello" {
		t.Errorf("got %v, %v", m, err)
	}
}

func TestModulesReachTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	b := inside(t, config.NATS{Listen: "0.0.0.0:0"}, t.TempDir())
	if !strings.HasPrefix(b.URL, "nats://127.0.0.1:") {
		t.Errorf("modules are sent to %s", b.URL)
	}
	meets(t, b.Conn, connect(t, b.URL, b.admin))
}

func TestStoreOutlivesTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := inside(t, config.NATS{}, dir)
	bucket, err := store(t, b.Conn).CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutString(t.Context(), "key", "value"); err != nil {
		t.Fatal(err)
	}
	b.Close()
	again, err := broker.Open(broker.Options{NATS: config.NATS{Listen: "127.0.0.1:-1"}, Keys: keys(t, t.TempDir()), StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if bucket, err = store(t, again.Conn).KeyValue(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if e, err := bucket.Get(t.Context(), "key"); err != nil || string(e.Value()) != "value" {
		t.Errorf("got %v, %v", e, err)
	}
}

func store(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestEmbeddedServerTakesMessagesUpToMaxPayload(t *testing.T) {
	t.Parallel()
	b := inside(t, config.NATS{MaxPayload: 4 << 20}, t.TempDir())
	if got := connect(t, b.URL, b.admin).MaxPayload(); got != 4<<20 {
		t.Errorf("modules may send %d bytes", got)
	}
}

func TestEmbeddedServerSaysThatItsPortIsTaken(t *testing.T) {
	t.Parallel()
	taken := strings.TrimPrefix(natstest.TCP(t).URL(), "nats://")
	b, err := broker.Open(broker.Options{NATS: config.NATS{Listen: taken}, Keys: keys(t, t.TempDir()), StoreDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "nats.listen: cannot listen on "+taken) {
		t.Errorf("got %v, %v", b, err)
	}
}

func TestMistakesInTheConfigurationAreErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		nats config.NATS
		want string
	}{
		"no port":          {config.NATS{Listen: "127.0.0.1"}, "nats.listen"},
		"no number":        {config.NATS{Listen: "127.0.0.1:http"}, "nats.listen"},
		"no certificate":   {config.NATS{Listen: "127.0.0.1:0", TLS: config.TLS{Cert: "nothing.pem", Key: "nothing.key"}}, "nats.tls"},
		"nobody is there":  {config.NATS{URL: "nats://user:hunter2@127.0.0.1:1"}, "cannot connect to nats.url"},
		"no credentials":   {config.NATS{URL: "nats://127.0.0.1:1", Credentials: "nothing.creds"}, "nats.credentials: open nothing.creds"},
		"no such external": {config.NATS{URL: "nats://127.0.0.1:1", TLS: config.TLS{CA: "nothing.pem"}}, "cannot connect to nats.url"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := broker.Open(broker.Options{NATS: tt.nats, Keys: keys(t, t.TempDir()), StoreDir: t.TempDir()})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q and no password", err, tt.want)
			}
		})
	}
}

// pki is an authority, and a certificate of it for a host's name alone, as operators have them.
func pki(t *testing.T) (ca, cert, key string) {
	t.Helper()
	a := certstest.New(t)
	cert, key = a.Issue("bus.example.com")
	return a.File, cert, key
}

// TestModulesThatBusdRunsReachATLSServer has a certificate without the address of loopback, of an authority nobody knows.
func TestModulesThatBusdRunsReachATLSServer(t *testing.T) {
	t.Parallel()
	ca, cert, key := pki(t)
	for name, c := range map[string]config.TLS{
		"without clients' certificates": {Cert: cert, Key: key},
		"with clients' certificates":    {Cert: cert, Key: key, CA: ca},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inside(t, config.NATS{TLS: c, Listen: "127.0.0.1:-1"}, t.TempDir())
			meets(t, b.Conn, connect(t, b.URL, b.admin))
			if strings.Contains(b.URL, "@") {
				t.Errorf("modules are sent to %s", b.URL)
			}
		})
	}
}

func TestEmbeddedServerLetsNobodyInWithoutCredentials(t *testing.T) {
	t.Parallel()
	_, cert, key := pki(t)
	for name, c := range map[string]config.TLS{"without TLS": {}, "over the relay": {Cert: cert, Key: key}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inside(t, config.NATS{TLS: c}, t.TempDir())
			for _, opt := range []nats.Option{nats.Name("anonymous"), nats.UserInfo("busd", "guessed"), admin(t, keys(t, t.TempDir()))} {
				if nc, err := nats.Connect(b.URL, opt); err == nil {
					nc.Close()
					t.Error("a stranger is let in")
				}
			}
		})
	}
}

func TestStoreOutlivesItsKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := inside(t, config.NATS{}, dir)
	_, err := store(t, b.Conn).CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, err := store(t, inside(t, config.NATS{}, dir).Conn).KeyValue(t.Context(), "b"); err != nil {
		t.Errorf("with new keys, what was stored is not there: %v", err)
	}
}

func TestTLSServerIsReachedByItsCertificate(t *testing.T) {
	t.Parallel()
	ca, cert, key := pki(t)
	address := free(t)
	b := inside(t, config.NATS{Listen: address, TLS: config.TLS{Cert: cert, Key: key, CA: ca}}, t.TempDir())
	named := nats.Secure(&tls.Config{ServerName: "bus.example.com", MinVersion: tls.VersionTLS13})
	meets(t, b.Conn, connect(t, "nats://"+address, named, nats.RootCAs(ca), nats.ClientCert(cert, key), b.admin))
	if nc, err := nats.Connect("nats://"+address, named, nats.RootCAs(ca)); err == nil {
		nc.Close()
		t.Error("a client without a certificate is let in")
	}
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// TestServersCertificateIsReplacedWhileItRuns has one at first that clients do not take.
func TestServersCertificateIsReplacedWhileItRuns(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("elsewhere.example.com")
	address := free(t)
	b := inside(t, config.NATS{TLS: config.TLS{Cert: cert, Key: key}, Listen: address}, t.TempDir())
	reaches := func() bool {
		nc, err := nats.Connect("tls://"+address, nats.RootCAs(a.File), b.admin)
		if err == nil {
			nc.Close()
		}
		return err == nil
	}
	if reaches() {
		t.Fatal("a certificate for another host is taken")
	}
	a.Replace(cert, key, "127.0.0.1")
	deadline := time.After(time.Minute)
	for !reaches() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatal("it shows its old certificate")
		}
	}
}

// restart starts a server in the place of another.
func restart(t *testing.T, old *server.Server, o *server.Options) *server.Server {
	t.Helper()
	address := old.Addr().String()
	old.Shutdown()
	old.WaitForShutdown()
	_, port, _ := strings.Cut(address, ":")
	o.Port = number(t, port)
	return natstest.Start(t, o)
}

func number(t *testing.T, text string) (n int) {
	t.Helper()
	for _, c := range text {
		n = 10*n + int(c-'0')
	}
	return n
}

func TestConnectionOutlivesANATSThatDoesNotKnowItsUsers(t *testing.T) {
	t.Parallel()
	known := func() *server.Options { return &server.Options{Username: "busd", Password: "secret"} }
	first := natstest.Start(t, known())
	b, err := broker.Open(broker.Options{NATS: config.NATS{URL: "nats://busd:secret@" + first.Addr().String()}, Keys: keys(t, t.TempDir()), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	second := restart(t, first, &server.Options{Username: "somebody", Password: "else"})
	waittest.Until(t, "logins are refused", func() bool { return connections(t, second) > 3 }) // nats.go gives up at the second, if it may.
	back := b.Conn.StatusChanged(nats.CONNECTED)
	restart(t, second, known())
	select {
	case <-back:
	case err := <-b.Lost():
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("it does not come back")
	}
}

// connections is how often somebody has connected to a server.
func connections(t *testing.T, s *server.Server) uint64 {
	t.Helper()
	v, err := s.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.TotalConnections
}

func TestClosedConnectionIsTold(t *testing.T) {
	t.Parallel()
	home := natstest.InProcess(t)
	b := broker.Lent(natstest.Connect(t, home), config.NATS{})
	defer b.Close()
	b.Conn.Close()
	select {
	case err := <-b.Lost():
		if !strings.Contains(err.Error(), "closed for good") {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("nobody is told")
	}
}

func TestCloseIsNoLoss(t *testing.T) {
	t.Parallel()
	b, err := broker.Open(broker.Options{NATS: config.NATS{Listen: "127.0.0.1:-1"}, Keys: keys(t, t.TempDir()), StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	select {
	case err := <-b.Lost():
		t.Error(err)
	default:
	}
}

func TestCloseEndsTheModulesConnections(t *testing.T) {
	t.Parallel()
	_, cert, key := pki(t)
	k := keys(t, t.TempDir())
	b, err := broker.Open(broker.Options{NATS: config.NATS{Listen: "127.0.0.1:-1", TLS: config.TLS{Cert: cert, Key: key}}, Keys: k, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	nc := connect(t, b.URL, admin(t, k), nats.NoReconnect())
	closed := nc.StatusChanged(nats.CLOSED)
	b.Close()
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Error("a module is still connected")
	}
}

func TestLentConnectionStaysTheCallers(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.TCP(t))
	b := broker.Lent(nc, config.NATS{})
	if b.URL != nc.ConnectedUrl() {
		t.Errorf("modules are sent to %q", b.URL)
	}
	b.Close()
	if !nc.IsConnected() {
		t.Error("it was closed")
	}
}

func TestProbeNamesTheNodesThatRefuse(t *testing.T) {
	t.Parallel()
	good := natstest.Start(t, &server.Options{Username: "busd", Password: "hunter2"})
	bad := natstest.Start(t, &server.Options{Username: "somebody", Password: "else"})
	urls := "nats://busd:hunter2@" + good.Addr().String() + ", nats://busd:hunter2@" + bad.Addr().String()
	problems := broker.Probe(config.NATS{URL: urls})
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), bad.Addr().String()) || strings.Contains(problems[0].Error(), "hunter2") {
		t.Errorf("got %v", problems)
	}
}

func TestFolderThatIsNoFolderIsAnError(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := broker.Open(broker.Options{NATS: config.NATS{Listen: "127.0.0.1:-1"}, Keys: keys(t, t.TempDir()), StoreDir: file})
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "state_dir") {
			t.Errorf("got %v", err)
		}
	case <-ctx.Done():
		t.Error("it hangs")
	}
}
