package docs_test

import (
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/config"
)

// TestReadmeCurls asks what README.md says to ask, and compares the answers with those that it shows. The ports are
// free ones, and the module is built beforehand; all else is as in the first command.
func TestReadmeCurls(t *testing.T) {
	t.Parallel()
	demo := filepath.Join(t.TempDir(), "demo-module")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", demo, "./cmd/demo-module")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c, err := config.Read(filepath.Join(root, "examples/demo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + c.HTTP.Listen
	c.NATS.Listen, c.HTTP.Listen, c.Modules[0].Run = "127.0.0.1:0", "127.0.0.1:0", []string{demo}
	door := serve(t, busd.Options{Config: c})()

	var asked int
	answers := strings.Split(strings.TrimSpace(blocks(t, "json", "README.md")[0].text), "\n")
	for _, b := range blocks(t, "sh", "README.md") {
		for line := range strings.Lines(b.text) {
			if !strings.HasPrefix(line, "curl ") {
				continue
			}
			got, want := curl(t, strings.Replace(line, base, door, 1)), answers[asked]
			if revision.ReplaceAllString(got, "") != revision.ReplaceAllString(want, "") {
				t.Errorf("%sanswers\n%s\nand not\n%s", line, got, want)
			}
			asked++
		}
	}
	if asked != len(answers) {
		t.Errorf("%d questions, %d answers", asked, len(answers))
	}
}

var (
	revision = regexp.MustCompile(`"roster_revision":\d+,"decision_id":"d-\w+"`)
	curling  = regexp.MustCompile(`^curl(?: -d '(.*)')? '?(http[^' \n]*)'?\n$`)
)

// curl does what a line says that begins with it.
func curl(t *testing.T, line string) string {
	t.Helper()
	words := curling.FindStringSubmatch(line)
	if words == nil {
		t.Fatalf("this test does not know what %q does", line)
	}
	method := http.MethodGet
	if words[1] != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, words[2], strings.NewReader(words[1]))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded") // As curl does it.
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}
