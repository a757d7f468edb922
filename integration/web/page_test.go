//go:build integration

package web_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestPageShowsWhatHappens looks at busd's page in a real browser, while a module refuses, crashes and is reloaded. What it must do is in
// browser/busd.mjs.
func TestPageShowsWhatHappens(t *testing.T) {
	t.Parallel()
	const token = "a token of the test"
	file := filepath.Join(t.TempDir(), "token")
	testbed.Write(t, file, token)
	d := testbed.Prepare(t, `
http: {listen: '127.0.0.1:0', token_file: '`+file+`'}
modules:
  - module: demo
    run: ['`+testbed.Program(t, "cmd/demo-module")+`']
    workers: 2
    config: {deny: ["@evilguy:example.com"]}
`)
	d.Start()
	d.Announced()
	browse(t, "browser/busd.mjs", 4, "URL="+d.URL, "TOKEN="+token, "FILE="+d.File, "BUSD="+strconv.Itoa(d.Cmd.Process.Pid))
}

// browse runs a script that opens pages in Chromium, and wants so many tests in it to pass.
func browse(t *testing.T, script string, tests int, env ...string) {
	t.Helper()
	chromium, err := exec.LookPath(testbed.Setting(t, "MODULEBUS_CHROMIUM"))
	if err != nil {
		t.Fatalf("no Chromium, so nobody knows whether pages work in a browser: %v", err)
	}
	pages := exec.CommandContext(t.Context(), "node", "--test-reporter=spec", script)
	pages.Env = append(os.Environ(), "CHROMIUM="+chromium, "PACKAGES="+testbed.Setting(t, "MODULEBUS_NODE_PACKAGES"))
	pages.Env = append(pages.Env, env...)
	out, err := pages.CombinedOutput()
	t.Logf("node:\n%s", out)
	if err != nil || !strings.Contains(string(out), "pass "+strconv.Itoa(tests)+"\n") {
		t.Errorf("the pages do not work in %s: %v", chromium, err)
	}
}
