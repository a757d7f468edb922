//go:build integration

package web_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/modulebus/modulebus/integration/testbed"
)

// stockProxy is a reverse proxy as Debian has it, or PyPI. Its configuration is the one of docs/web-resources.md, inside the least
// that the program needs around it: LISTEN, PORT and FOLDER are the test's, and CONFIG is the page's.
type stockProxy struct {
	language, program string // of the page's block, and what runs it
	around            string
	args              []string
}

var stockProxies = []stockProxy{
	{
		language: "nginx", program: "nginx", args: []string{"-p", "FOLDER", "-e", "stderr", "-c", "FILE"},
		around: "daemon off; pid FOLDER/pid; error_log stderr;\nevents {}\nhttp { access_log off;\n" +
			"client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c; uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;\n" +
			"server { listen LISTEN;\nCONFIG\n} }\n",
	},
	{
		language: "apache", program: "apache2", args: []string{"-X", "-f", "FILE"},
		around: apacheModules("mpm_event", "authz_core", "proxy", "proxy_http", "headers") +
			"ServerName localhost\nServerRoot FOLDER\nDefaultRuntimeDir FOLDER\nPidFile FOLDER/pid\nErrorLog /dev/stderr\nUser nobody\nGroup nogroup\n" +
			"Listen LISTEN\n<VirtualHost LISTEN>\nCONFIG\n</VirtualHost>\n",
	},
	{
		language: "haproxy", program: "haproxy", args: []string{"-db", "-f", "FILE"},
		around: "defaults\n    mode http\n    timeout client 1h\nfrontend in\n    bind LISTEN\n    default_backend busd\nCONFIG\n",
	},
	{
		language: "caddy", program: "caddy", args: []string{"run", "--adapter", "caddyfile", "--config", "FILE"},
		around: "{\nadmin off\n}\nhttp://:PORT {\nbind 127.0.0.1\nCONFIG\n}\n",
	},
	{
		language: "yaml traefik", program: "traefik", args: []string{
			"--global.checkNewVersion=false", "--entryPoints.web.address=LISTEN", "--providers.file.filename=FILE",
		},
		around: "CONFIG  routers: {all: {rule: 'PathPrefix(`/`)', service: busd}}\n",
	},
}

func apacheModules(names ...string) string {
	var lines []byte
	for _, name := range names {
		lines = fmt.Appendf(lines, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", name, name)
	}
	return string(lines)
}

// TestPagesWorkBehindStockProxies runs the configurations of the page in front of the examples' modules.
func TestPagesWorkBehindStockProxies(t *testing.T) {
	t.Parallel()
	config := []byte("http: {listen: '127.0.0.1:0', trusted_proxies: [127.0.0.1]}\nmodules:\n")
	for module, folder := range map[string]string{
		"clock": "examples/clock", "echo": "examples/echo", "upload": "examples/upload", "faulty": "integration/testbed/testdata/webfaulty",
	} {
		config = fmt.Appendf(config, "  - {module: %s, run: [%s]}\n", module, testbed.Program(t, folder))
	}
	d := testbed.Serve(t, string(config))
	for _, p := range stockProxies {
		t.Run(p.program, func(t *testing.T) {
			t.Parallel()
			program := p.found()
			if program == "" {
				t.Skipf("no %s here: make integration installs it where it may", p.program)
			}
			at := p.start(t, program, strings.TrimPrefix(d.URL, "http://"))
			eventsComeAtOnce(t, at)
			socketOfThisPageIsTaken(t, at)
			filesPass(t, at)
			hostHasItsPort(t, at)
		})
	}
}

// found is where the program is: on the path, where Debian keeps those of servers, or beside Python; empty where it is nowhere.
func (p stockProxy) found() string {
	for _, folder := range []string{"", "/usr/sbin", filepath.Dir(os.Getenv("MODULEBUS_PYTHON"))} {
		if program, err := exec.LookPath(filepath.Join(folder, p.program)); err == nil {
			return program
		}
	}
	return ""
}

// start runs the proxy in front of busd, and returns its address once it passes requests.
func (p stockProxy) start(t *testing.T, program, busd string) (at string) {
	t.Helper()
	folder, at := t.TempDir(), testbed.FreeAddress(t)
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "config.yaml")
	words := strings.NewReplacer("LISTEN", at, "PORT", port, "FOLDER", folder, "FILE", file,
		"CONFIG", strings.ReplaceAll(documented(t, p.language), "127.0.0.1:8010", busd))
	if err := os.WriteFile(file, []byte(words.Replace(p.around)), 0o600); err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, arg := range p.args {
		args = append(args, words.Replace(arg))
	}
	testbed.Execute(t, program, args...).Start()
	testbed.Eventually(t, p.program+" passes requests", func() bool {
		rsp, err := http.Get("http://" + at + "/readyz")
		if err != nil {
			return false
		}
		rsp.Body.Close()
		return rsp.StatusCode == http.StatusOK
	})
	return at
}

// documented is the block of that language in the page for operators.
func documented(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(testbed.Root, "docs", "web-resources.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```"+language+"\n")
	block, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("the page has no block of %s", language)
	}
	return block
}

// hostHasItsPort wants the module to see where the client asked: links to itself have no port otherwise.
func hostHasItsPort(t *testing.T, at string) {
	t.Helper()
	rsp, err := http.Get("http://" + at + "/f/reflect")
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if got := rsp.Header.Get("X-Forwarded-Host"); got != at {
		t.Errorf("the module sees the host %q, of a client that asked %s", got, at)
	}
}

// eventsComeAtOnce wants the first event of a response that never ends.
func eventsComeAtOnce(t *testing.T, at string) {
	t.Helper()
	req, err := http.NewRequestWithContext(testbed.Bounded(t), http.MethodGet, "http://"+at+"/_synapse/client/clock/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	line, err := bufio.NewReader(rsp.Body).ReadString('\n')
	if line != "id: 1\n" || rsp.StatusCode != http.StatusOK {
		t.Errorf("a stream of events is %s and begins with %q (%v)", rsp.Status, line, err)
	}
}

// socketOfThisPageIsTaken has a browser's page of this site open a WebSocket, and one of another site be refused.
func socketOfThisPageIsTaken(t *testing.T, at string) {
	t.Helper()
	ctx := testbed.Bounded(t)
	dial := func(origin string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(ctx, "ws://"+at+"/_synapse/client/echo/socket",
			&websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
	}
	socket, _, err := dial("http://" + at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.CloseNow() }() // It is closed already when all went well.
	if err := socket.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, said, err := socket.Read(ctx); string(said) != "hello" {
		t.Errorf("the echo is %q (%v)", said, err)
	}
	if err := socket.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	if _, rsp, err := dial("http://elsewhere.example"); err == nil || rsp == nil || rsp.StatusCode != http.StatusForbidden {
		t.Errorf("the page of another site has a socket: %v, %v", rsp, err)
	}
}

// filesPass sends a file, and fetches one, that no proxy takes by default or holds as a whole.
func filesPass(t *testing.T, at string) {
	t.Helper()
	const size = 4 << 20
	rsp, err := http.Post("http://"+at+"/_synapse/client/upload", "application/octet-stream", bytes.NewReader(make([]byte, size)))
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if said, _ := io.ReadAll(rsp.Body); !bytes.Contains(said, fmt.Appendf(nil, `"size":%d`, size)) {
		t.Errorf("an upload is %s: %s", rsp.Status, said)
	}
	large, err := http.Get(fmt.Sprintf("http://%s/f/page?bytes=%d", at, size))
	if err != nil {
		t.Fatal(err)
	}
	defer large.Body.Close()
	if n, err := io.Copy(io.Discard, large.Body); n != size || err != nil {
		t.Errorf("a download is %s, with %d bytes (%v)", large.Status, n, err)
	}
}
