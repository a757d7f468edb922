//go:build integration

package synapse_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

// relay is a way to busd that keeps what passes it.
type relay struct {
	*httptest.Server
	mu   sync.Mutex
	asks []ask
}

type ask struct{ callback, body string }

func startRelay(t *testing.T, busd string) *relay {
	t.Helper()
	target, err := url.Parse(busd)
	if err != nil {
		t.Fatal(err)
	}
	r, proxy := &relay{}, httputil.NewSingleHostReverseProxy(target)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.keep(req)
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *relay) keep(req *http.Request) {
	path, isAsk := strings.CutPrefix(req.URL.Path, "/_modulebus/v1/ask/")
	if !isAsk {
		return
	}
	body, _ := io.ReadAll(req.Body) // Of what broke off, the rest fails as it would have.
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks = append(r.asks, ask{path[strings.LastIndex(path, "/")+1:], string(body)})
}

// asked tells whether a callback was asked about what has the text in it.
func (r *relay) asked(callback, text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.asks, func(a ask) bool { return a.callback == callback && strings.Contains(a.body, text) })
}

// count is how many questions passed.
func (r *relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asks)
}

func (r *relay) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks = nil
}

// postgres starts an empty PostgreSQL, and returns the folder of its socket.
func postgres(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "modulebus-") //nolint:usetesting // others than root cannot enter a test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	server := func(program string, args ...string) *exec.Cmd {
		return notRoot(t, dir, postgresProgram(t, program), args...)
	}
	initdb := server("initdb", "--pgdata", data, "--username=synapse", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	startProgram(t, server("postgres", "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off"), func() bool {
		return server("pg_isready", "--quiet", "--host", dir).Run() == nil
	})
	return dir
}

// postgresProgram is where the program is: Debian does not put those of the server where programs are looked for.
func postgresProgram(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		t.Fatalf("no %s of PostgreSQL, so nobody knows whether modules work with workers: run make integration", name)
	}
	return slices.Max(found)
}

// notRoot prepares a program that root may not run, and gives the folder to who runs it instead.
func notRoot(t *testing.T, dir, program string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(program, args...)
	c.Dir = dir
	if os.Geteuid() != 0 {
		return c
	}
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return c
}

// redis starts one, and returns its socket.
func redis(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("no Redis, so nobody knows whether modules work with workers: run make integration (%v)", err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "redis.sock")
	startProgram(t, exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir), func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return socket
}

// startProgram runs a program until the test ends, and returns when it is ready.
func startProgram(t *testing.T, c *exec.Cmd, ready func() bool) {
	t.Helper()
	log := testbed.NewTranscript()
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt) // It may be gone.
		_ = c.Wait()                       // Whatever it says of that.
		if t.Failed() {
			t.Logf("%s said:\n%s", c.Path, tail(log.String(), 4000))
		}
	})
	for deadline := time.Now().Add(time.Minute); !ready(); testbed.Pause(t) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready\n%s", c.Path, tail(log.String(), 4000))
		}
	}
}
