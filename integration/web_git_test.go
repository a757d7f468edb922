//go:build integration

package integration

import (
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/bus"
)

// TestGit clones and pushes through a module that is git's own HTTP server: chunked and compressed uploads, and long
// responses.
func TestGit(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	git := func(dir string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+home, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	repositories := t.TempDir()
	git(repositories, "init", "--bare", "-b", "main", "a.git")
	git(filepath.Join(repositories, "a.git"), "config", "http.receivepack", "true")
	const path = "/_synapse/client/git"
	s := newSite(t, bus.Options{}, "git")
	backend := &cgi.Handler{
		Path: filepath.Join(git(home, "--exec-path"), "git-http-backend"),
		Root: path,
		Env:  []string{"GIT_PROJECT_ROOT=" + repositories, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + home},
	}
	s.run(t, "git", path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TransferEncoding = nil // Go's CGI refuses chunks; git's program reads to the end.
		backend.ServeHTTP(w, r)
	}))
	url := s.front.URL + path + "/a.git"

	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	git(home, "clone", url, one)
	git(one, "config", "user.name", "a")
	git(one, "config", "user.email", "a@example.com")
	git(one, "config", "http.postBuffer", "65536") // So that the push is chunked.
	noise := make([]byte, 8<<20)
	for i := range noise {
		noise[i] = byte(i * i >> (i % 7))
	}
	if err := os.WriteFile(filepath.Join(one, "noise"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	git(one, "checkout", "-b", "main")
	git(one, "add", ".")
	git(one, "-c", "core.compression=0", "commit", "-m", "noise")
	git(one, "-c", "core.compression=0", "push", "origin", "main")
	git(home, "clone", "-b", "main", url, two)
	git(two, "fsck", "--full")
	if got, want := git(two, "rev-parse", "HEAD"), git(one, "rev-parse", "HEAD"); got != want {
		t.Errorf("cloned %s, pushed %s", got, want)
	}
}
