package busd_test

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/subjects"
)

// TestSecretsOfPagesAreNeverSaid has visitors send seeds wherever a request for a page has place for secrets, to pages that fail in each
// way and repeat them, and looks for them in all that busd and the modules say.
func TestSecretsOfPagesAreNeverSaid(t *testing.T) {
	t.Parallel()
	elsewhere := t.TempDir()
	d := testbed.Prepare(t, "http: {listen: '127.0.0.1:0', web: {response_timeout: 5s, body_limit: 1KiB}}\nmodules:\n"+
		faulty(t, "gate", "")+"  - {module: garbage}\n  - {module: gone}\n", "--log-level", "trace")
	d.With("TMPDIR=" + elsewhere)
	d.Start()
	d.Announced()
	garbage(t, d)
	registers(t, d, "gone") // and serves nothing
	for path, want := range map[string]int{
		"/_synapse/client/gate": 200, "/_synapse/client/gate/panic": 502, "/_synapse/client/gate/abort": 502, "/_synapse/client/gate/hang": 504,
		"/_synapse/client/garbage": 502, "/_synapse/client/gone": 503, "/_synapse/client/nobody": 404,
	} {
		for _, body := range []string{"password=secret-body", "password=secret-body" + strings.Repeat("x", 2000)} {
			rsp, out := d.Request(http.MethodPost, path+"?access_token=secret-query&next=secret%22escaped", []byte(body), "Authorization", "Bearer secret-bearer",
				"Cookie", "session=secret-cookie", "X-Forwarded-For", "203.0.113.77", "Referer", "https://example.org/?token=secret-referer")
			if len(body) < 1024 && rsp.StatusCode != want || strings.Contains(string(out), "secret") || strings.Contains(string(out), "203.0.113.77") {
				t.Errorf("%s answers %s, %q", path, rsp.Status, out)
			}
		}
	}
	sendsOverSocket(t, d, "secret-message")
	secrets := []string{
		"secret-message", "secret-query", "secret%22escaped", `secret"escaped`, `secret\"escaped`, "secret-bearer", "secret-cookie", "203.0.113.77", "secret-referer", "secret-body",
	}
	unsaid(t, d, secrets)
	unwritten(t, elsewhere, secrets)
	contains(t, "the log", string(d.Stderr.Bytes()), "web resource panicked", `"panic":"string"`)
}

// sendsOverSocket has a visitor send a message over a WebSocket, which the page panics with.
func sendsOverSocket(t *testing.T, d *testbed.Daemon, message string) {
	t.Helper()
	ctx := testbed.Bounded(t)
	socket, _, err := websocket.Dial(ctx, d.URL+"/_synapse/client/gate/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.CloseNow() }() // The page has closed it.
	if err := socket.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		t.Fatal(err)
	}
	if _, said, err := socket.Read(ctx); err == nil || strings.Contains(err.Error(), message) {
		t.Errorf("a page that panicked said %q, %v", said, err)
	}
	d.Stderr.Line(t, "web resource panicked", `"panic":"*fmt.wrapError"`)
}

// unwritten wants no file of a folder to have one of the secrets.
func unwritten(t *testing.T, folder string, secrets []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, secret := range secrets {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s has %s", path, secret)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// registers has a module that a test plays register a page.
func registers(t *testing.T, d *testbed.Daemon, module string) *nats.Conn {
	t.Helper()
	nc := d.ConnectModule(module)
	m := &nats.Msg{Subject: subjects.For("example.com").Join(module), Header: nats.Header{"Content-Type": {"application/json"}}}
	m.Data = []byte(`{"worker": "w", "json": true, "web_resources": ["/_synapse/client/` + module + `"]}`)
	if _, err := nc.RequestMsgWithContext(testbed.Bounded(t), m); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "the module is ready", func() bool { return d.Module(module).State == "ready" })
	return nc
}

// garbage has a module answer what nobody can read, and that is what it was asked.
func garbage(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	nc := registers(t, d, "garbage")
	subject := subjects.For("example.com").Web("garbage", "/_synapse/client/garbage")
	if _, err := nc.QueueSubscribe(subject, subjects.Group("garbage"), func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}
