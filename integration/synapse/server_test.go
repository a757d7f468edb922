//go:build integration

package synapse_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

const sharedSecret = "only for tests"

// synapse is a real Synapse in a process of its own, on SQLite.
type synapse struct {
	name   string // its server name
	url    string // for clients
	dir    string
	app    []string // what Python runs
	python string   // which has this Synapse; empty for the one of the requirements
	env    []string
	r0     bool // It is older than the paths of Matrix 1.1.

	cmd   *exec.Cmd
	log   *testbed.Transcript
	ended chan struct{}
}

// startSynapse starts one with these modules, a list in YAML, and further configuration.
func startSynapse(t *testing.T, modules, more string) *synapse {
	t.Helper()
	s := prepareSynapse(t)
	s.configure(t, modules, more)
	s.start(t)
	return s
}

// prepareSynapse picks the addresses of one.
func prepareSynapse(t *testing.T) *synapse {
	t.Helper()
	federation, client := testbed.FreePort(t), testbed.FreePort(t)
	return &synapse{
		name: fmt.Sprintf("localhost:%d", federation),
		url:  fmt.Sprintf("http://127.0.0.1:%d", client),
		dir:  t.TempDir(),
		app:  []string{"synapse.app.homeserver", "-c", "homeserver.yaml"},
	}
}

func (s *synapse) configure(t *testing.T, modules, more string) {
	t.Helper()
	certificate(t, s.dir)
	seed := make([]byte, 32)
	_, _ = rand.Read(seed) // It never fails.
	testbed.Write(t, filepath.Join(s.dir, "signing.key"), "ed25519 a_test "+base64.RawStdEncoding.EncodeToString(seed)+"\n")
	testbed.Write(t, filepath.Join(s.dir, "log.yaml"), `
version: 1
disable_existing_loggers: false
formatters: {line: {format: "%(asctime)s %(levelname)s %(name)s %(message)s"}}
handlers: {out: {class: logging.StreamHandler, formatter: line}}
root: {level: INFO, handlers: [out]}
loggers: {synapse.storage.SQL: {level: WARNING}, synapse.access: {level: WARNING}, synapse.metrics: {level: WARNING}}
`)
	_, federation, _ := net.SplitHostPort(s.name)
	client, _ := url.Parse(s.url)
	limit := "{per_second: 100000, burst_count: 100000}"
	text := `
server_name: "` + s.name + `"
public_baseurl: "` + s.url + `"
pid_file: ` + s.dir + `/pid
signing_key_path: ` + s.dir + `/signing.key
log_config: ` + s.dir + `/log.yaml
media_store_path: ` + s.dir + `/media
database: {name: sqlite3, args: {database: ` + s.dir + `/homeserver.db}}
tls_certificate_path: ` + s.dir + `/tls.crt
tls_private_key_path: ` + s.dir + `/tls.key
listeners:
  - {port: ` + client.Port() + `, bind_addresses: ["127.0.0.1"], type: http, resources: [{names: [client]}]}
  - {port: ` + federation + `, bind_addresses: ["127.0.0.1"], type: http, tls: true, resources: [{names: [federation]}]}
federation_verify_certificates: false
use_insecure_ssl_client_just_for_testing_do_not_use: true
ip_range_blacklist: []
federation_ip_range_blacklist: []
trusted_key_servers: []
suppress_key_server_warning: true
enable_registration: true
enable_registration_without_verification: true
registration_shared_secret: "` + sharedSecret + `"
macaroon_secret_key: "` + sharedSecret + `"
form_secret: "` + sharedSecret + `"
bcrypt_rounds: 4
report_stats: false
dynamic_thumbnails: true
background_updates: {sleep_enabled: false}
user_directory: {enabled: true, search_all_users: true, prefer_local_users: true}
room_list_publication_rules: [{user_id: "*", alias: "*", room_id: "*", action: allow}]
rc_message: ` + limit + `
rc_registration: ` + limit + `
rc_login: {address: ` + limit + `, account: ` + limit + `, failed_attempts: ` + limit + `}
rc_joins: {local: ` + limit + `, remote: ` + limit + `}
rc_joins_per_room: ` + limit + `
rc_invites: {per_room: ` + limit + `, per_user: ` + limit + `, per_issuer: ` + limit + `}
rc_3pid_validation: ` + limit + `
rc_admin_redaction: ` + limit + `
rc_media_create: ` + limit + `
rc_presence: {per_user: ` + limit + `}
rc_user_directory: ` + limit + `
rc_reports: ` + limit + `
rc_room_creation: ` + limit + `
rc_third_party_invite: ` + limit + `
rc_federation: {window_size: 1000, sleep_limit: 100000, sleep_delay: 1, reject_limit: 100000, concurrent: 100}
` + more + `
modules:` + modules + "\n"
	testbed.Write(t, filepath.Join(s.dir, "homeserver.yaml"), text)
}

// start starts it, and waits until it serves.
func (s *synapse) start(t *testing.T) {
	t.Helper()
	s.log, s.ended = testbed.NewTranscript(), make(chan struct{})
	python := s.python
	if python == "" {
		python = testbed.Python(t)
	}
	s.cmd = exec.Command(python, append([]string{"-m"}, s.app...)...)
	s.cmd.Dir = s.dir
	s.cmd.Env = append(os.Environ(), "PYTHONPATH="+pythonPath(t), "PYTHONDONTWRITEBYTECODE=1")
	s.cmd.Env = append(s.cmd.Env, s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) { defer close(ended); _ = cmd.Wait() }(s.cmd, s.ended)
	log := s.log
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("%v of %s said:\n%s", s.app, s.name, tail(log.String(), 8000))
		}
	})
	s.untilServes(t)
}

func (s *synapse) untilServes(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; {
		if rsp, err := http.Get(s.url + "/health"); err == nil {
			_ = rsp.Body.Close()
			return
		}
		select {
		case <-s.ended:
			t.Fatalf("Synapse ended: %v\n%s", s.cmd.ProcessState, tail(s.log.String(), 4000))
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("Synapse does not serve\n%s", tail(s.log.String(), 4000))
		}
	}
}

// stop has it end as an operator does; where it does not, it is killed.
func (s *synapse) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // It may be gone.
	select {
	case <-s.ended:
	case <-time.After(15 * time.Second):
		s.kill()
	}
}

func (s *synapse) kill() {
	_ = s.cmd.Process.Kill() // It may be gone.
	<-s.ended
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// pythonPath is where the bridge is, and the scripted module that runs inside Synapse.
func pythonPath(t *testing.T) string {
	t.Helper()
	var paths []string
	for _, dir := range []string{"bridges/synapse", "integration/synapse/testdata"} {
		path, err := filepath.Abs(filepath.Join(testbed.Root, dir))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return strings.Join(paths, ":")
}

// certificate writes one that nobody signed.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	testbed.Write(t, filepath.Join(dir, "tls.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	testbed.Write(t, filepath.Join(dir, "tls.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
}

// reply is what a client gets.
type reply struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

// String is what the client sees of it: the status, and if that is an error, errcode, text and further fields.
func (r reply) String() string {
	if r.status < 400 {
		return strconv.Itoa(r.status)
	}
	text := fmt.Sprintf("%d %v %q", r.status, r.body["errcode"], r.body["error"])
	rest := maps.Clone(r.body)
	delete(rest, "errcode")
	delete(rest, "error")
	if len(rest) > 0 {
		more, _ := json.Marshal(rest)
		text += " " + string(more)
	}
	return text
}

func (r reply) str(keys ...string) string {
	var v any = r.body
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	s, _ := v.(string)
	return s
}

// user is who makes requests; without a token, nobody in particular.
type user struct {
	s     *synapse
	id    string
	token string
}

// do makes a request as a client does. The body is JSON, or bytes as they are.
func (u user) do(t *testing.T, method, path string, body any) reply {
	t.Helper()
	r, err := u.try(t.Context(), method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

var clients = &http.Client{Timeout: 60 * time.Second}

func (u user) try(ctx context.Context, method, path string, body any) (r reply, err error) {
	raw, isBytes := body.([]byte)
	if !isBytes && body != nil {
		if raw, err = json.Marshal(body); err != nil {
			return r, err
		}
	}
	if u.s.r0 {
		path = strings.Replace(path, "/v3/", "/r0/", 1)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.s.url+path, bytes.NewReader(raw))
	if err != nil {
		return r, err
	}
	req.Header.Set("Content-Type", "application/json")
	if isBytes {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	rsp, err := clients.Do(req)
	if err != nil {
		return r, err
	}
	defer rsp.Body.Close()
	r = reply{status: rsp.StatusCode, header: rsp.Header}
	if r.raw, err = io.ReadAll(rsp.Body); err != nil {
		return r, err
	}
	_ = json.Unmarshal(r.raw, &r.body) // Of media it is none.
	return r, nil
}

// must is do, and fails the test unless it succeeds.
func (u user) must(t *testing.T, method, path string, body any) reply {
	t.Helper()
	r := u.do(t, method, path, body)
	if r.status >= 300 {
		t.Fatalf("%s %s: %v", method, path, r)
	}
	return r
}

func (s *synapse) nobody() user { return user{s: s} }

// register registers a user by the means of an administrator of the machine.
func (s *synapse) register(t *testing.T, name string, admin bool) user {
	t.Helper()
	nonce := s.nobody().must(t, "GET", "/_synapse/admin/v1/register", nil).str("nonce")
	mac := hmac.New(sha1.New, []byte(sharedSecret))
	kind := "notadmin"
	if admin {
		kind = "admin"
	}
	mac.Write([]byte(strings.Join([]string{nonce, name, "secret", kind}, "\x00")))
	r := s.nobody().must(t, "POST", "/_synapse/admin/v1/register", map[string]any{
		"nonce": nonce, "username": name, "password": "secret", "admin": admin, "mac": hex.EncodeToString(mac.Sum(nil)),
	})
	return user{s, r.str("user_id"), r.str("access_token")}
}

func (u user) createRoom(t *testing.T, more map[string]any) string {
	t.Helper()
	body := map[string]any{"preset": "public_chat"}
	maps.Copy(body, more)
	return u.must(t, "POST", "/_matrix/client/v3/createRoom", body).str("room_id")
}

func room(id string, rest ...string) string {
	escaped := []string{"/_matrix/client/v3/rooms", url.PathEscape(id)}
	for _, r := range rest {
		escaped = append(escaped, url.PathEscape(r))
	}
	return strings.Join(escaped, "/")
}

// sorted lists the keys.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
