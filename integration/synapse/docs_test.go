//go:build integration

package synapse_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

var (
	fenced = regexp.MustCompile("(?ms)^```(shell|json)\n(.*?)^```$")
	runs   = regexp.MustCompile(`busd serve|exec .*homeserver`) // for as long as one lets it
)

// TestSynapseInFiveMinutes does what docs/synapse.md says, in order, and compares what it shows. Only places differ: where
// things are installed, and on which ports they listen. Synapse is not downloaded again.
func TestSynapseInFiveMinutes(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	text, err := os.ReadFile(filepath.Join(testbed.Root, "docs", "synapse.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text2, _ := strings.Cut(string(text), "## Five minutes")
	section, _, _ := strings.Cut(text2, "\n## ")
	dir := t.TempDir()
	busdPort, clientPort := testbed.FreePort(t), testbed.FreePort(t)
	copyTree(t, filepath.Join(testbed.Root, "bridges", "synapse"), filepath.Join(dir, "bridge"))
	demo, err := os.ReadFile(filepath.Join(testbed.Root, "examples", "demo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer(
		".cache/synapse", filepath.Join(dir, "synapse"), "./bridges/synapse", filepath.Join(dir, "bridge"),
		"examples/demo.yaml", filepath.Join(dir, "demo.yaml"), "python3 ", testbed.Python(t)+" ",
		"127.0.0.1:8010", fmt.Sprint("127.0.0.1:", busdPort), "127.0.0.1:8008", fmt.Sprint("127.0.0.1:", clientPort),
		"127.0.0.1:4222", "127.0.0.1:0",
	)
	testbed.Write(t, filepath.Join(dir, "demo.yaml"), here.Replace(string(demo)))

	var create string
	homeserver, printed, steps := filepath.Join(dir, "synapse", "homeserver.yaml"), "", 0
	started := time.Now()
	for _, block := range fenced.FindAllStringSubmatch(section, -1) {
		body := here.Replace(block[2])
		steps++
		switch {
		case block[1] == "json":
			if !strings.HasSuffix(strings.TrimSpace(printed), strings.TrimSpace(body)) {
				t.Errorf("step %d printed %s\nand not %s", steps, printed, body)
			}
		case runs.MatchString(body):
			background(t, body)
			ready := fmt.Sprintf("http://127.0.0.1:%d/readyz", busdPort)
			if strings.Contains(body, "homeserver") {
				ready = fmt.Sprintf("http://127.0.0.1:%d/health", clientPort)
			}
			answers(t, ready)
		default:
			printed = shell(t, body)
			if _, login, found := strings.Cut(body, "\ntoken="); found {
				create = "token=" + login
			}
			if strings.Contains(body, "--generate-config") {
				movePort(t, homeserver, clientPort)
			}
		}
	}
	testbed.Write(t, filepath.Join(dir, "demo.yaml"), strings.ReplaceAll(here.Replace(string(demo)), `"@evilguy:example.com"`, ""))
	// busd is asked until it has read the list: Synapse lets nobody log in as often as that.
	ask := fmt.Sprintf(`curl -s -d '{"user_id":"@evilguy:example.com"}' http://127.0.0.1:%d/_modulebus/v1/ask/spam_checker/user_may_create_room`, busdPort)
	testbed.Eventually(t, "the user is off the list", func() bool { return !strings.Contains(shell(t, ask), "refusal") })
	if got := shell(t, create); !strings.Contains(got, `"room_id"`) {
		t.Errorf("off the list, the user still gets %s", got)
	}
	if steps < 8 {
		t.Errorf("docs/synapse.md has %d steps", steps)
	}
	fmt.Printf("docs/synapse.md: %d steps in %v\n", steps, time.Since(started).Round(time.Second))
}

func shell(t *testing.T, script string) string {
	t.Helper()
	var out strings.Builder
	for _, line := range strings.SplitAfter(strings.ReplaceAll(script, "\\\n", ""), "\n") {
		// What the suite has installed counts as installed.
		if strings.Contains(line, "-m venv") {
			venv := strings.Fields(line)[len(strings.Fields(line))-1]
			line += "echo " + sitePackages(t) + " > $(echo " + venv + "/lib/python3.*/site-packages)/suite.pth\n"
		}
		out.WriteString(line)
	}
	c := exec.CommandContext(t.Context(), "bash", "-euc", out.String())
	c.Dir = testbed.Root
	var stderr strings.Builder
	c.Stderr = &stderr
	printed, err := c.Output()
	if err != nil {
		t.Fatalf("%s\n%v\n%s%s", script, err, printed, stderr.String())
	}
	return string(printed)
}

func sitePackages(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), testbed.Python(t), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// background runs a command as a terminal of its own does, and ends it as Ctrl-C does.
func background(t *testing.T, script string) {
	t.Helper()
	c := exec.Command("bash", "-euc", script)
	c.Dir = testbed.Root
	log := testbed.NewTranscript()
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGINT) // It may be gone.
		select {
		case <-ended:
		case <-time.After(15 * time.Second):
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		}
		if t.Failed() {
			t.Logf("%s\n%s", script, tail(log.String(), 4000))
		}
	})
}

// answers waits until there is a good answer.
func answers(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if rsp, err := http.Get(url); err == nil {
			_ = rsp.Body.Close()
			if rsp.StatusCode == http.StatusOK {
				return
			}
		}
		testbed.Pause(t)
	}
	t.Fatalf("%s does not answer", url)
}

// movePort has Synapse listen on another port than everybody's.
func movePort(t *testing.T, file string, port int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "port: 8008") {
		t.Fatalf("what Synapse generates does not listen on port 8008:\n%s", text)
	}
	testbed.Write(t, file, strings.ReplaceAll(string(text), "port: 8008", fmt.Sprint("port: ", port)))
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
