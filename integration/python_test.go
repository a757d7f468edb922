//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	evil  = "@evilguy:example.com"
	alice = "@alice:example.com"
)

// TestPythonGate runs the module that docs/protocol.md points to, as examples/python.yaml does.
func TestPythonGate(t *testing.T) {
	t.Parallel()
	d := serve(t, build(t), `
server_name: example.com
nats: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
modules:
  - module: gate
    run: [`+python(t)+`, examples/python/gate.py]
    config: {deny: ["`+evil+`"]}
`)
	if d.ask(t, evil).Answer.Refusal.Errcode != "M_FORBIDDEN" {
		t.Errorf("%s may create rooms", evil)
	}
	if got := d.ask(t, alice); got.Answer != nil || got.status != http.StatusOK {
		t.Errorf("of %s, the module said %+v; want no opinion", alice, got)
	}

	// While the worker is gone the ask fails, as user_may_create_room does by default; it never finds no opinion.
	d.worker(t).kill(t)
	worker := d.worker(t)
	for got := d.ask(t, evil); got.status != http.StatusOK; got = d.ask(t, evil) {
		if got.Failure != "absent" && got.Failure != "timeout" {
			t.Errorf("without a worker: %+v", got)
		}
		wait(t)
	}
	if got := d.ask(t, evil); got.Answer == nil || got.DecidedBy != "gate" {
		t.Errorf("the restarted worker said %+v; want a refusal", got)
	}

	// It drains when it is told to, and says that it leaves: nothing is left for busd to kill or to complain of.
	d.stop(t)
	if ended := d.said(t, "worker ended"); ended.PID != worker.PID || ended.Error != "" {
		t.Errorf("worker %d: %+v", worker.PID, ended)
	}
}

// TestPythonGateOutlivesBusd has a module that busd does not run, and a busd that is started again under it.
func TestPythonGateOutlivesBusd(t *testing.T) {
	t.Parallel()
	const config = `
server_name: example.com
nats: {listen: "%s"}
http: {listen: "127.0.0.1:0"}
modules:
  - module: gate
    config: {deny: ["` + evil + `"]}
`
	busd := build(t)
	d := serve(t, busd, fmt.Sprintf(config, "127.0.0.1:0"))
	gate := exec.CommandContext(t.Context(), python(t), "examples/python/gate.py")
	gate.Dir = root
	gate.Env = append(os.Environ(), "MODULEBUS_NATS_URL=nats://"+d.nats, "MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=gate")
	gate.Stdout, gate.Stderr = t.Output(), t.Output()
	if err := gate.Start(); err != nil {
		t.Fatal(err)
	}
	d.untilRefused(t)
	d.stop(t)
	d = serve(t, busd, fmt.Sprintf(config, d.nats))
	d.untilRefused(t)
	if err := gate.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := gate.Wait(); err != nil {
		t.Errorf("the module did not drain: %v", err)
	}
	if got := d.ask(t, evil); got.Failure != "absent" {
		t.Errorf("after the module left: %+v; want it to be absent", got)
	}
}

// TestPythonGateFollowsItsConfiguration has a busd whose file is changed while the module runs.
func TestPythonGateFollowsItsConfiguration(t *testing.T) {
	t.Parallel()
	const config = `
server_name: example.com
nats: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
modules:
  - module: gate
    run: [%s, examples/python/gate.py]
    config: {deny: [%q]}
`
	d := serve(t, build(t), fmt.Sprintf(config, python(t), "@somebody.else:example.com"))
	if got := d.ask(t, evil); got.Answer != nil || got.status != http.StatusOK {
		t.Errorf("before the change: %+v; want no opinion", got)
	}
	write(t, d.config, fmt.Sprintf(config, python(t), evil))
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.untilRefused(t)
}

// python is where the modules that examples need are installed.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("MODULEBUS_PYTHON")
	if path == "" {
		t.Fatal("MODULEBUS_PYTHON is not set: run make integration")
	}
	return path
}

func build(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "busd")
	c := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./cmd/busd")
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// daemon is a busd in a process of its own.
type daemon struct {
	cmd          *exec.Cmd
	config       string
	url, nats    string
	log          <-chan entry
	stopped      bool
	outputClosed <-chan struct{}
}

// entry is what these tests read of a line of busd's log.
type entry struct {
	Message, Error string
	PID            int
}

var readyLine = regexp.MustCompile(`^busd: .*HTTP at (http://\S+), NATS at nats://([^;\s]+);`)

// serve starts busd and waits for its one line.
func serve(t *testing.T, busd, config string) *daemon {
	t.Helper()
	d := &daemon{config: filepath.Join(t.TempDir(), "busd.yaml")}
	write(t, d.config, config)
	d.cmd = exec.Command(busd, "serve", "--config", d.config)
	d.cmd.Dir = root
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.follow(t, stderr)
	t.Cleanup(func() { d.stop(t) })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	found := readyLine.FindStringSubmatch(line)
	if err != nil || found == nil {
		t.Fatalf("busd said %q (%v)", line, err)
	}
	d.url, d.nats = found[1], found[2]
	return d
}

// follow reads the log to its end.
func (d *daemon) follow(t *testing.T, stderr io.Reader) {
	log, closed := make(chan entry, 1000), make(chan struct{})
	d.log, d.outputClosed = log, closed
	go func() {
		defer close(closed)
		defer close(log)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			t.Logf("busd: %s", lines.Text())
			var e entry
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				log <- e
			}
		}
	}()
}

// said returns the next entry of the log with the message.
func (d *daemon) said(t *testing.T, message string) entry {
	t.Helper()
	for e := range d.log {
		if e.Message == message {
			return e
		}
	}
	t.Fatalf("busd never said %q", message)
	return entry{}
}

// stop drains busd, which must succeed.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if d.stopped {
		return
	}
	d.stopped = true
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // Wait tells if it was gone.
	<-d.outputClosed
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("busd did not drain: %v", err)
	}
}

// worker returns the next worker that busd starts.
func (d *daemon) worker(t *testing.T) entry {
	t.Helper()
	return d.said(t, "worker started")
}

func (e entry) kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(e.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// decision is what came of an ask, or why nothing did.
type decision struct {
	status    int
	Answer    *struct{ Refusal struct{ Errcode string } }
	DecidedBy string `json:"decided_by"`
	Failure   string
}

// ask asks whether the user may create a room.
func (d *daemon) ask(t *testing.T, user string) (got decision) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"user_id": user})
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := http.Post(d.url+"/_modulebus/v1/ask/spam_checker/user_may_create_room", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	var text strings.Builder
	if err := json.NewDecoder(io.TeeReader(rsp.Body, &text)).Decode(&got); err != nil {
		t.Fatalf("%s: %v", text.String(), err)
	}
	got.status = rsp.StatusCode
	return got
}

func (d *daemon) untilRefused(t *testing.T) {
	t.Helper()
	for d.ask(t, evil).Answer == nil {
		wait(t)
	}
}

// wait lets others work between two looks at what must come.
func wait(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-t.Context().Done():
		t.FailNow()
	}
}
