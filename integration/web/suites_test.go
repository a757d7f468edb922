//go:build integration

package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// MODULEBUS_SUITE_ONLY chooses tests, and MODULEBUS_SUITE_DUMP is a directory for what failing ones print.

// The suites of others, routed through a hop: a copy of net/http/httptest, made when this runs, asks tunneld for the
// address of each server. Each test runs alone, so that one that hangs hides no other.

// verdict is what became of a test: pass, fail, hang, or skip.
type verdict map[string]string

// which are the tests of which that became.
func (v verdict) which(what string) (tests []string) {
	for test, got := range v {
		if got == what {
			tests = append(tests, test)
		}
	}
	slices.Sort(tests)
	return tests
}

func (v verdict) count(what string) int { return len(v.which(what)) }

// failing are those to run again.
func (v verdict) failing() []string { return append(v.which("fail"), v.which("hang")...) }

// suite is the tests of one package.
type suite struct {
	name   string
	binary string
	dir    string
	env    []string
	args   func(test string) []string
	tests  []string
}

// patience is how long a test may take on a machine that is busy with other suites. Those that hang wait beside each other.
const patience = 10 * time.Second

// computing has a place for each test that computes. One that has run for a second waits for something, most likely for
// what never comes, and gives its place to another.
var computing = make(chan struct{}, runtime.NumCPU())

// run runs tests behind the hop at addr; an empty one is none.
func (s suite) run(t *testing.T, addr string, tests []string) verdict {
	t.Helper()
	found := verdict{}
	var mu sync.Mutex
	var running sync.WaitGroup
	for _, test := range tests {
		computing <- struct{}{}
		running.Go(func() {
			leave := sync.OnceFunc(func() { <-computing })
			defer leave()
			defer time.AfterFunc(time.Second, leave).Stop()
			got := s.one(t.Context(), addr, test)
			mu.Lock()
			defer mu.Unlock()
			found[test] = got
		})
	}
	running.Wait()
	return found
}

func (s suite) one(ctx context.Context, addr, test string) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, append(s.args(test), "-test.count=1")...)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), append(s.env, "HTTPTEST_TUNNEL="+addr)...)
	out, err := cmd.CombinedOutput()
	if dump := os.Getenv("MODULEBUS_SUITE_DUMP"); dump != "" && err != nil {
		_ = os.WriteFile(filepath.Join(dump, strings.NewReplacer("/", "_", ":", "_").Replace(s.name+" "+test+" "+addr)), out, 0o600)
	}
	switch {
	case ctx.Err() != nil:
		return "hang"
	case err != nil:
		return "fail"
	case strings.Contains(string(out), "--- SKIP"):
		return "skip"
	}
	return "pass"
}

// overlay writes the changed httptest, and the file that tells the go tool of it.
func overlay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(goroot(t), "src/net/http/httptest/server.go")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const before = "\ts.URL = \"http://\" + s.Listener.Addr().String()\n"
	if strings.Count(string(text), before) != 1 {
		t.Fatal("net/http/httptest has changed: look for where Start sets the URL")
	}
	changed := strings.Replace(string(text), before, before+"\ts.URL = tunnelled(s.URL)\n", 1) + `
func tunnelled(url string) string {
	addr := os.Getenv("HTTPTEST_TUNNEL")
	if addr == "" {
		return url
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	fmt.Fprintln(c, strings.TrimPrefix(url, "http://"))
	var front string
	fmt.Fscanln(c, &front)
	return "http://" + front
}
`
	copied := filepath.Join(dir, "server.go")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: copied}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := errors.Join(os.WriteFile(copied, []byte(changed), 0o600), os.WriteFile(file, list, 0o600)); err != nil {
		t.Fatal(err)
	}
	return file
}

func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// compile compiles the tests of a package in a directory.
func compile(t *testing.T, dir, pkg, overlay string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "suite.test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", binary, pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// passing are the tests whose names match among those that pass on their own, as a run of all tells.
func (s suite) passing(t *testing.T, name string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, "-test.v", "-test.short")
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), s.env...)
	out, _ := cmd.CombinedOutput() // A test that fails on its own is none to compare.
	var tests []string
	only := regexp.MustCompile(os.Getenv("MODULEBUS_SUITE_ONLY"))
	for _, m := range regexp.MustCompile(`(?m)^ *--- PASS: (`+name+`) \(`).FindAllStringSubmatch(string(out), -1) {
		if only.MatchString(m[1]) {
			tests = append(tests, m[1])
		}
	}
	slices.Sort(tests)
	return slices.Compact(tests)
}

// compare runs a suite behind both hops, and fails if the tunnel passes fewer tests than the bar.
func (s suite) compare(t *testing.T, bar int, explained map[string]string) {
	t.Helper()
	direct, tunnelled := tunneld(t, plainHop), tunneld(t, tunnelHop(t))
	var plain, got verdict
	var both sync.WaitGroup
	both.Go(func() { plain = s.behind(t, "httputil.ReverseProxy", direct) })
	both.Go(func() { got = s.behind(t, "the tunnel", tunnelled) })
	both.Wait()
	for _, test := range slices.Sorted(maps.Keys(got)) {
		switch {
		case plain[test] == "pass" && got[test] != "pass":
			t.Logf("only the plain proxy passes %s (%s): %s", test, got[test], explained[test])
			if explained[test] == "" {
				t.Errorf("%s is not explained", test)
			}
		case plain[test] != "pass" && got[test] == "pass":
			t.Logf("only the tunnel passes %s", test)
		}
	}
	if got.count("pass") < bar {
		t.Errorf("%s: %d tests pass behind the tunnel, want %d", s.name, got.count("pass"), bar)
	}
}

// tries is how often a test may be run until it passes. Many of these measure time, or race with their own server: how
// many packets a response comes in decides whether they fail, or wait for ever. So none is judged by one run, and who
// passed only later is named.
const tries = 3

// behind runs the suite behind a hop, and what does not pass again.
func (s suite) behind(t *testing.T, name, addr string) verdict {
	t.Helper()
	found := s.run(t, addr, s.tests)
	for try := 2; try <= tries; try++ {
		later := s.run(t, addr, found.failing())
		maps.Copy(found, later)
		if passed := later.which("pass"); len(passed) > 0 {
			t.Logf("behind %s pass at try %d: %s", name, try, strings.Join(passed, ", "))
		}
	}
	t.Logf("%s: of %d tests that pass on their own, behind %s %d pass, %d fail, %d hang, %d skip",
		s.name, len(s.tests), name, found.count("pass"), found.count("fail"), found.count("hang"), found.count("skip"))
	return found
}

func exactly(test string) []string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return []string{"-test.run", strings.Join(parts, "/"), "-test.v", "-test.short"}
}

func TestSuiteHTTPUtil(t *testing.T) { //nolint:paralleltest // its tests measure time
	dir := filepath.Join(goroot(t), "src/net/http/httputil")
	s := suite{name: "net/http/httputil", dir: dir, args: exactly}
	s.binary = compile(t, dir, ".", overlay(t))
	s.tests = s.passing(t, `Test\w+`)
	// Which of the two it is depends on whether the head was under way when the response broke off.
	const whole = "a response that breaks off before its head was sent is answered 502, whole, where a plain proxy cuts it"
	s.compare(t, 40, map[string]string{
		"TestReverseProxy_PanicBodyError":          whole,
		"TestReverseProxy_PanicClosesIncomingBody": whole,
	})
}

func TestSuiteHTTP(t *testing.T) { //nolint:paralleltest // its tests measure time
	dir := filepath.Join(goroot(t), "src/net/http")
	s := suite{name: "net/http", dir: dir, args: exactly}
	s.binary = compile(t, dir, ".", overlay(t))
	s.tests = s.passing(t, `Test\w+/h1`)
	s.compare(t, 234, map[string]string{
		"TestNoSniffExpectRequestBody/h1": "whether a body is asked for before the answer is there is a race, behind any hop",
	})
}
