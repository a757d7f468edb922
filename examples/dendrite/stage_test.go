package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matrix-org/dendrite/setup/config"
	"github.com/matrix-org/dendrite/setup/process"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/subjects"
	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"
	"maunium.net/go/mautrix"
	matrixevent "maunium.net/go/mautrix/event"
	mid "maunium.net/go/mautrix/id"
)

// root is the folder of modulebus, whose busd is run.
const root = "../.."

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

var programs string

// dendritesSay is what went wrong in one of this process.
var dendritesSay transcript

func TestMain(m *testing.M) {
	logrus.SetOutput(&dendritesSay)
	logrus.SetLevel(logrus.ErrorLevel)
	var err error
	if programs, err = os.MkdirTemp("", "dendrite-"); err != nil {
		panic(err)
	}
	build := exec.Command("go", "build", "-o", programs+"/", "./cmd/busd")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	status := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(status)
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// daemon is busd as a process.
type daemon struct {
	testing.TB

	file, nats string
	said       *transcript
}

type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// prepare writes a configuration of busd.
func prepare(t testing.TB, serverName, natsKeys, modules string) *daemon {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf("server_name: '%s'\nstate_dir: '%s'\nnats: {%s}\nhttp: {listen: '127.0.0.1:0'}\nbudget: 2m\nmodules:\n%s",
		serverName, filepath.Join(dir, "state"), natsKeys, modules)
	d := &daemon{TB: t, file: filepath.Join(dir, "busd.yaml"), said: &transcript{}}
	if err := os.WriteFile(d.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

var whereabouts = regexp.MustCompile(`NATS at ([^;\s]+)`)

// start starts busd until the test ends, and waits for its announcement.
func (d *daemon) start() *daemon {
	d.Helper()
	c := exec.Command(filepath.Join(programs, "busd"), "serve", "--config", d.file)
	c.Stdout, c.Stderr = d.said, d.said
	if err := c.Start(); err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
		if d.Failed() {
			d.Logf("busd said\n%s", d.said)
		}
	})
	eventually(d, "busd announces itself", func() bool {
		m := whereabouts.FindStringSubmatch(d.said.String())
		if m != nil {
			d.nats = m[1]
		}
		return m != nil
	})
	return d
}

// credentials are a file that busd prints for a user: of a module, or --homeserver, or --admin.
func (d *daemon) credentials(user string) string {
	d.Helper()
	text := d.prints("credentials", user)
	file := filepath.Join(d.TempDir(), "creds")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		d.Fatal(err)
	}
	return file
}

func (d *daemon) prints(command string, args ...string) []byte {
	d.Helper()
	c := exec.Command(filepath.Join(programs, "busd"), append([]string{command, "--config", d.file}, args...)...)
	out, err := c.Output()
	if err != nil {
		d.Fatalf("%s: %v", c, err)
	}
	return out
}

// run runs a module in this process until the test ends, and waits until busd has it.
func (d *daemon) run(serverName string, m modulekit.Module[struct{}]) {
	d.Helper()
	nc, err := nats.Connect(d.nats, nats.UserCredentials(d.credentials("gate")), nats.Name("gate/test"), nats.MaxReconnects(-1),
		nats.CustomInboxPrefix(subjects.For(serverName).Inbox("gate", "test")))
	if err != nil {
		d.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := modulekit.Run(ctx, nc, m, modulekit.Options{ServerName: serverName, Module: "gate", Worker: "test"}); err != nil {
			d.Error(err)
		}
	})
	d.Cleanup(func() { cancel(); running.Wait(); nc.Close() })
}

// site is a Dendrite that clients and other servers reach.
type site struct {
	testing.TB
	*homeserver

	name   string
	bus    *daemon
	server *httptest.Server
}

// gated are the modules of most tests: one, which may do all that a module may be granted.
const gated = "  - {module: gate, timeout: 1m, grants: [users.private, users.write, tokens, rooms.send, rooms.admin, account_data]}\n"

// reserve listens where a site will be: its name has the port.
func reserve(t testing.TB) (net.Listener, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return listener, "localhost:" + port
}

// found starts a Dendrite on the NATS inside of a busd, with that module.
func found(t testing.TB, modules string, m modulekit.Module[struct{}]) *site {
	t.Helper()
	listener, name := reserve(t)
	d := prepare(t, name, "listen: '127.0.0.1:0', max_payload: 16MiB", modules).start()
	if strings.Contains(modules, "gate") {
		d.run(name, m)
	}
	cfg, p := configure(t, name)
	cfg.Global.JetStream.Addresses = []string{d.nats}
	cfg.Global.JetStream.Credentials = config.Path(d.credentials("--admin"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h, err := open(ctx, p, cfg, options{credentials: d.credentials("--homeserver")})
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, listener, name, d, h)
}

// configure is a Dendrite's configuration: SQLite in a folder of the test's, and registration for everybody.
func configure(t testing.TB, name string) (*config.Dendrite, *process.ProcessContext) {
	t.Helper()
	cfg, dir := &config.Dendrite{}, t.TempDir()
	cfg.Defaults(config.DefaultOpts{Generate: true})
	for name, database := range map[string]*config.DatabaseOptions{
		"federation": &cfg.FederationAPI.Database, "keys": &cfg.KeyServer.Database, "mscs": &cfg.MSCs.Database,
		"media": &cfg.MediaAPI.Database, "rooms": &cfg.RoomServer.Database, "sync": &cfg.SyncAPI.Database,
		"users": &cfg.UserAPI.AccountDatabase, "relay": &cfg.RelayAPI.Database,
	} {
		database.ConnectionString = config.DataSource("file:" + filepath.Join(dir, name+".db"))
	}
	cfg.Global.JetStream.InMemory = true
	cfg.Global.ServerName = spec.ServerName(name)
	cfg.Global.JetStream.DisableTLSValidation = false // Or Dendrite wants TLS of NATS.
	cfg.ClientAPI.RegistrationDisabled, cfg.ClientAPI.RateLimiting.Enabled = false, false
	cfg.ClientAPI.RegistrationSharedSecret = "shared"
	cfg.FederationAPI.DisableTLSValidation, cfg.FederationAPI.KeyPerspectives = true, nil
	if err := cfg.Derive(); err != nil {
		t.Fatal(err)
	}
	return cfg, process.NewProcessContext()
}

// serve has a Dendrite answer at its name until the test ends.
func serve(t testing.TB, l net.Listener, name string, d *daemon, h *homeserver) *site {
	t.Helper()
	if h == nil {
		t.FailNow()
	}
	t.Cleanup(h.close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Dendrite said\n%s", &dendritesSay)
		}
	})
	server := httptest.NewUnstartedServer(h)
	_ = server.Listener.Close()
	server.Listener = l
	server.StartTLS()
	t.Cleanup(server.Close)
	return &site{TB: t, homeserver: h, name: name, bus: d, server: server}
}

// knows waits until the homeserver has heard what the module wants.
func (s *site) knows(cb subjects.AnyCallback) {
	s.Helper()
	eventually(s, "the homeserver knows what the module wants", func() bool {
		for _, m := range s.modules.Roster().GetModules() {
			if len(m.GetWorkers()) > 0 {
				return s.modules.Wants(cb)
			}
		}
		return false
	})
}

// user is somebody with a client, with or without a token.
type user struct {
	*site
	*mautrix.Client

	id, token string
}

var browser = &http.Client{Timeout: patience, Transport: &http.Transport{
	MaxIdleConnsPerHost: 2 * senders, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
}} // Certificates are self-signed.

// client is that of a user.
func (s *site) client(id, token string) user {
	s.Helper()
	c, err := mautrix.NewClient(s.server.URL, mid.UserID(id), token)
	if err != nil {
		s.Fatal(err)
	}
	c.Client, c.UserAgent = browser, "a client"
	return user{s, c, id, token}
}

func (s *site) nobody() user { return s.client("", "") }

type fields map[string]any

// saw is what a client got for a request: a status, and the body that belongs to it.
func saw[T any](answer T, err error) (int, fields) {
	status, from := http.StatusOK, any(answer)
	if e, ok := errors.AsType[mautrix.HTTPError](err); ok && e.RespError != nil {
		status, from = e.RespError.StatusCode, e.RespError.ExtraData
	} else if err != nil {
		return 0, fields{"error": err.Error()}
	}
	data, _ := json.Marshal(from) // It came as JSON.
	var body fields
	_ = json.Unmarshal(data, &body)
	return status, body
}

// try is what a user gets for a request that the client has no method for.
func (u user) try(method, path string, body any) (int, fields) {
	u.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		u.Fatal(err)
	}
	req, err := http.NewRequest(method, u.server.URL+path, bytes.NewReader(data))
	if err != nil {
		u.Fatal(err)
	}
	req.Header.Set("User-Agent", "a client")
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	rsp, err := browser.Do(req)
	if err != nil {
		u.Fatal(err)
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(rsp.Body)
	if err != nil {
		u.Fatal(err)
	}
	var answer fields
	if err := json.Unmarshal(text, &answer); err != nil {
		answer = fields{"text": string(text)}
	}
	return rsp.StatusCode, answer
}

// does is try for what must go well.
func (u user) does(method, path string, body any) fields {
	u.Helper()
	status, answer := u.try(method, path, body)
	if status != http.StatusOK {
		u.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

const v3 = "/_matrix/client/v3"

// register makes an account, and logs it in.
func (s *site) register(localpart string) user {
	s.Helper()
	status, a := s.tryRegister(localpart)
	if status != http.StatusOK {
		s.Fatalf("registering %s: %d %v", localpart, status, a)
	}
	return s.client(a["user_id"].(string), a["access_token"].(string))
}

func (s *site) tryRegister(localpart string) (int, fields) {
	s.Helper()
	return saw(s.nobody().RegisterDummy(s.Context(), &mautrix.ReqRegister[any]{Username: localpart, Password: "a long password"}))
}

func (u user) createRoom(config mautrix.ReqCreateRoom) mid.RoomID {
	u.Helper()
	return of[*mautrix.RespCreateRoom](u.TB)(u.CreateRoom(u.TB.Context(), &config)).RoomID
}

func (u user) join(room string, via ...string) mid.RoomID {
	u.Helper()
	return of[*mautrix.RespJoinRoom](u.TB)(u.JoinRoom(u.TB.Context(), room, &mautrix.ReqJoinRoom{Via: via})).RoomID
}

func (u user) invite(room mid.RoomID, who string) (int, fields) {
	return saw(u.InviteUser(u.TB.Context(), room, &mautrix.ReqInviteUser{UserID: mid.UserID(who)}))
}

func (u user) message(room mid.RoomID, text string) (int, fields) {
	return saw(u.SendText(u.TB.Context(), room, text))
}

// bodies are the texts of the messages that the user sees in a room, the last one first.
func (u user) bodies(room mid.RoomID) (texts []any) {
	u.Helper()
	for _, e := range of[*mautrix.RespMessages](u.TB)(u.Messages(u.TB.Context(), room, "", "", mautrix.DirectionBackward, nil, 50)).Chunk {
		if e.Type == matrixevent.EventMessage {
			texts = append(texts, e.Content.Raw["body"])
		}
	}
	return texts
}
