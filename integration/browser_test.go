//go:build integration

package integration

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBrowser opens the pages of examples/web.yaml in a real browser. All is as the file says, but that the modules are
// built beforehand, and that ports are free ones. What the pages must do is in browser/pages.mjs.
func TestBrowser(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath(setting(t, "MODULEBUS_CHROMIUM"))
	if err != nil {
		t.Fatalf("no Chromium, so nobody knows whether pages work in a browser: %v", err)
	}
	packages := setting(t, "MODULEBUS_NODE_PACKAGES")
	modules := []string{"upload", "echo", "clock"}

	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./cmd/busd")
	ports := []string{"127.0.0.1:4222", "127.0.0.1:0", "127.0.0.1:8010", "127.0.0.1:0"}
	programs := []string{}
	for _, module := range modules {
		build.Args = append(build.Args, "./examples/"+module)
		programs = append(programs, "[go, run, ./examples/"+module+"]", "["+filepath.Join(bin, module)+"]")
	}
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	example, err := os.ReadFile(filepath.Join(root, "examples/web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer(append(ports, programs...)...).Replace(string(example))
	d := serve(t, filepath.Join(bin, "busd"), config)
	for _, module := range modules {
		d.untilServed(t, "/_synapse/client/"+module)
	}

	pages := exec.CommandContext(t.Context(), "node", "--test-reporter=spec", "browser/pages.mjs")
	pages.Env = append(os.Environ(), "CHROMIUM="+chromium, "PACKAGES="+packages, "URL="+d.url)
	out, err := pages.CombinedOutput()
	t.Logf("node:\n%s", out)
	if err != nil || !strings.Contains(string(out), "pass 3\n") {
		t.Errorf("the pages do not work in %s: %v", chromium, err)
	}
}

// setting is something that make integration says.
func setting(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatal(name + " is not set: run make integration")
	}
	return value
}

// untilServed waits for a page, as a homeserver that has just started does for modules.
func (d *daemon) untilServed(t *testing.T, path string) {
	t.Helper()
	for {
		rsp, err := http.Get(d.url + path)
		if err != nil {
			t.Fatal(err)
		}
		rsp.Body.Close()
		if rsp.StatusCode == http.StatusOK {
			return
		}
		wait(t)
	}
}
