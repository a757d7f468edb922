//go:build integration

package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
)

const hey = "github.com/rakyll/hey@v0.1.5"

// A load is so many requests of one kind, by as many callers at once.
type load struct {
	name     string
	path     string
	body     int // bytes that are sent
	size     int // bytes that come back
	requests int
	callers  int
}

var loads = []load{
	{name: "small GET, 1 caller", path: "/f/page?bytes=100", size: 100, requests: 3000, callers: 1},
	{name: "small GET, 64 callers", path: "/f/page?bytes=100", size: 100, requests: 32_000, callers: 64},
	{name: "GET of 1 MiB, 16 callers", path: "/f/page?bytes=1048576", size: 1 << 20, requests: 320, callers: 16},
	{name: "POST of 100 KiB, 16 callers", path: "/f/echo", body: 100 << 10, size: 100 << 10, requests: 1600, callers: 16},
}

// TestLoadOfHey has a load generator of others ask busd, and httputil.ReverseProxy in front of the same program.
func TestLoadOfHey(t *testing.T) { //nolint:paralleltest // its numbers are printed
	generator := installed(t, hey)
	home := natstest.TCP(t)
	testbed.Worker(t, home.URL(), testbed.WebFaulty, "web")
	d := testbed.Serve(t, "nats: {url: '"+home.URL()+"'}\nmodules: [{module: web}]\n")
	plain := proxied(t)
	for _, l := range loads {
		ours, peer := l.run(t, generator, d.URL), l.run(t, generator, plain)
		t.Logf("%s: busd %.0f/s, httputil.ReverseProxy %.0f/s, ratio %.2f", l.name, ours, peer, ours/peer)
	}
	all := 0
	for _, l := range loads {
		all += l.requests
	}
	_, metrics := d.Request("GET", "/metrics", nil)
	want := `modulebus_web_requests_total{module="web",outcome="ok",resource="/f",status="200"} ` + strconv.Itoa(all)
	if !strings.Contains(expanded(string(metrics)), want+"\n") {
		t.Errorf("busd does not say %s", want)
	}
}

// expanded has numbers as people write them.
func expanded(metrics string) string {
	return regexp.MustCompile(`\d\.\d+e\+\d+`).ReplaceAllStringFunc(metrics, func(n string) string {
		f, _ := strconv.ParseFloat(n, 64)
		return strconv.FormatFloat(f, 'f', -1, 64)
	})
}

// proxied is the address of a reverse proxy, with a connection for each caller, in front of the program without a bus.
func proxied(t *testing.T) string {
	t.Helper()
	backend := testbed.Command(t, testbed.WebFaulty).With("WEBFAULTY_LISTEN=127.0.0.1:0").Start()
	at := strings.TrimPrefix(backend.Stdout.Line(t, "listens at"), "listens at ")
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: at})
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	proxy.Transport = transport
	s := httptest.NewServer(proxy)
	t.Cleanup(func() { s.Close(); transport.CloseIdleConnections() })
	return s.URL
}

// installed is the program of a Go package.
func installed(t *testing.T, pkg string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "install", pkg)
	cmd.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", pkg, err, out)
	}
	name, _, _ := strings.Cut(filepath.Base(pkg), "@")
	return filepath.Join(dir, name)
}

// run wants each response to be whole and 200. It returns how many there were in a second.
func (l load) run(t *testing.T, generator, at string) float64 {
	t.Helper()
	args := []string{"-n", strconv.Itoa(l.requests), "-c", strconv.Itoa(l.callers)}
	if l.body > 0 {
		file := filepath.Join(t.TempDir(), "body")
		testbed.Write(t, file, strings.Repeat("x", l.body))
		args = append(args, "-m", "POST", "-D", file)
	}
	out, err := exec.CommandContext(t.Context(), generator, append(args, at+l.path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("hey: %v\n%s", err, out)
	}
	got := heySaid(t, out, `\[200\]\s+(\d+) responses`)
	bytes := heySaid(t, out, `Total data:\s+(\d+) bytes`)
	if got != float64(l.requests) || bytes != float64(l.requests*l.size) || strings.Contains(string(out), "Error distribution") {
		t.Errorf("%s at %s: want %d responses of %d bytes:\n%s", l.name, at, l.requests, l.size, out)
	}
	return heySaid(t, out, `Requests/sec:\s+([\d.]+)`)
}

// heySaid is a number that hey printed.
func heySaid(t *testing.T, out []byte, pattern string) float64 {
	t.Helper()
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		t.Fatalf("hey did not say %s:\n%s", pattern, out)
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
