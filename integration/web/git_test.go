//go:build integration

package web_test

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modulebus/modulebus/bus"
)

// TestGit clones and pushes through a module that is git's own HTTP server: chunked and compressed uploads, and long
// responses. What the module is asked through httputil.ReverseProxy is to look the same.
func TestGit(t *testing.T) {
	t.Parallel()
	backend := newGitBackend(t)
	s := newSite(t, bus.Options{}, "git")
	s.run(t, "git", gitPath, backend)
	plain := httptest.NewServer(backend)
	t.Cleanup(plain.Close)
	proxy := httptest.NewServer(plainHop(t, plain.Listener.Addr().String()))
	t.Cleanup(proxy.Close)
	tunnelled := backend.cloneAndPush(t, s.front.URL, "tunnelled")
	proxied := backend.cloneAndPush(t, proxy.URL, "proxied")
	t.Logf("through the tunnel: %s", strings.Join(tunnelled, ", "))
	t.Logf("through httputil.ReverseProxy: %s", strings.Join(proxied, ", "))
	if !slices.Equal(tunnelled, proxied) {
		t.Error("git's server was asked otherwise than through httputil.ReverseProxy")
	}
}

const gitPath = "/_synapse/client/git"

// gitBackend is git's HTTP server, which notes what it is asked.
type gitBackend struct {
	http.Handler
	home, repositories string

	mu    sync.Mutex
	asked []string
}

func newGitBackend(t *testing.T) *gitBackend {
	t.Helper()
	b := &gitBackend{home: t.TempDir(), repositories: t.TempDir()}
	b.Handler = &cgi.Handler{
		Path: filepath.Join(b.git(t, b.home, "--exec-path"), "git-http-backend"),
		Root: gitPath,
		Env:  []string{"GIT_PROJECT_ROOT=" + b.repositories, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + b.home},
	}
	return b
}

// ServeHTTP implements [http.Handler].
func (b *gitBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := fmt.Sprintf("%s %s (%s)", r.Method, path.Base(r.URL.Path), r.Header.Get("Content-Encoding")+strings.Join(r.TransferEncoding, " "))
	b.mu.Lock()
	b.asked = append(b.asked, what)
	b.mu.Unlock()
	r.TransferEncoding = nil // Go's CGI refuses chunks; git's program reads to the end.
	b.Handler.ServeHTTP(w, r)
}

// git runs git without the settings of who runs the test.
func (b *gitBackend) git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+b.home, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// cloneAndPush clones an empty repository, pushes to it and clones again. It returns what the server was asked.
func (b *gitBackend) cloneAndPush(t *testing.T, front, repository string) (asked []string) {
	t.Helper()
	b.git(t, b.repositories, "init", "--bare", "-b", "main", repository+".git")
	b.git(t, filepath.Join(b.repositories, repository+".git"), "config", "http.receivepack", "true")
	url := front + gitPath + "/" + repository + ".git"
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	b.git(t, b.home, "clone", url, one)
	b.commitNoise(t, one)
	b.git(t, one, "-c", "core.compression=0", "push", "origin", "main")
	b.git(t, b.home, "clone", "-b", "main", url, two)
	b.git(t, two, "fsck", "--full")
	if got, want := b.git(t, two, "rev-parse", "HEAD"), b.git(t, one, "rev-parse", "HEAD"); got != want {
		t.Errorf("cloned %s, pushed %s", got, want)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	asked, b.asked = b.asked, nil
	return asked
}

// commitNoise commits what cannot be compressed much, so that the push is chunked.
func (b *gitBackend) commitNoise(t *testing.T, dir string) {
	t.Helper()
	b.git(t, dir, "config", "user.name", "a")
	b.git(t, dir, "config", "user.email", "a@example.com")
	b.git(t, dir, "config", "http.postBuffer", "65536")
	noise := make([]byte, 8<<20)
	for i := range noise {
		noise[i] = byte(i * i >> (i % 7))
	}
	if err := os.WriteFile(filepath.Join(dir, "noise"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	b.git(t, dir, "checkout", "-b", "main")
	b.git(t, dir, "add", ".")
	b.git(t, dir, "-c", "core.compression=0", "commit", "-m", "noise")
}
