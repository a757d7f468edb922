package testbed

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program under way.
type Process struct {
	t      *testing.T
	Cmd    *exec.Cmd
	Stdout *transcript
	Stderr *transcript
	ended  chan struct{}
}

// Command prepares one of our programs with its arguments.
func Command(t *testing.T, folder string, args ...string) *Process {
	t.Helper()
	return Execute(t, Program(t, folder), args...)
}

// Execute prepares any program with its arguments, in a folder of its own.
func Execute(t *testing.T, path string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, Cmd: exec.Command(path, args...), Stdout: newTranscript(), Stderr: newTranscript(), ended: make(chan struct{})}
	p.Cmd.Dir = t.TempDir()
	p.Cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.Cmd.Dir, "TMPDIR=" + p.Cmd.Dir, "GORACE=atexit_sleep_ms=0"}
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.Cmd.Stdout, p.Cmd.Stderr = p.Stdout, p.Stderr
	return p
}

// With adds environment variables.
func (p *Process) With(env ...string) *Process {
	p.Cmd.Env = append(p.Cmd.Env, env...)
	return p
}

// Start starts the process. What is left of it is killed when the test ends, and what it said is shown if the test failed.
func (p *Process) Start() *Process {
	p.t.Helper()
	if err := p.Cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { defer close(p.ended); _ = p.Cmd.Wait() }()
	p.t.Cleanup(func() {
		_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
		if bytes.Contains(p.Stderr.Bytes(), []byte("DATA RACE")) {
			p.t.Error("the program has a data race")
		}
		if p.t.Failed() {
			p.t.Logf("%s\nstdout:\n%s\nstderr:\n%s", p.Cmd, p.Stdout.end(), p.Stderr.end())
		}
	})
	return p
}

// Run starts the process and waits for its end.
func (p *Process) Run() (status int, stdout, stderr string) {
	p.t.Helper()
	status = p.Start().Wait()
	return status, string(p.Stdout.Bytes()), string(p.Stderr.Bytes())
}

func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// Wait returns the exit status; -1 is a signal's.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		p.t.Fatalf("%s does not end", p.Cmd)
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Stop asks the process to stop, and wants exit status 0.
func (p *Process) Stop() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if status := p.Wait(); status != 0 {
		p.t.Errorf("%s exited with status %d when it was asked to stop", p.Cmd, status)
	}
}

// Kill has the process end without a chance to say goodbye.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	p.Wait()
}

// transcript is what a process wrote.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed when something was written
}

func newTranscript() *transcript { return &transcript{more: make(chan struct{})} }

// Write implements [io.Writer].
func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	close(s.more)
	s.more = make(chan struct{})
	return len(p), nil
}

func (s *transcript) read() (text []byte, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.text.Bytes()), s.more
}

func (s *transcript) Bytes() []byte {
	text, _ := s.read()
	return text
}

// end is the last that was written.
func (s *transcript) end() []byte {
	const most = 8 << 10
	text := s.Bytes()
	return text[max(0, len(text)-most):]
}

// Line returns a whole line that has all the words, once there is one.
func (s *transcript) Line(t *testing.T, words ...string) string {
	t.Helper()
	late := time.After(Patience)
	for {
		text, more := s.read()
		if line, ok := lineWith(text, words); ok {
			return line
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("no line has all of %q", words)
		}
	}
}

func lineWith(text []byte, words []string) (string, bool) {
	r := bufio.NewReader(bytes.NewReader(text))
	for {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return "", false
		}
		has := true
		for _, word := range words {
			has = has && strings.Contains(line, word)
		}
		if has {
			return strings.TrimSuffix(line, "\n"), true
		}
	}
}

// Lines returns the lines that have all the words.
func (s *transcript) Lines(words ...string) (found []string) {
	for line := range strings.Lines(string(s.Bytes())) {
		if line, ok := lineWith([]byte(line), words); ok {
			found = append(found, line)
		}
	}
	return found
}

// Count is how many lines have all the words.
func (s *transcript) Count(words ...string) int { return len(s.Lines(words...)) }

// Daemon is busd as a process.
type Daemon struct {
	*Process
	*Caller
	File     string // its configuration
	Announce string // its first line
	NATS     string // where its NATS is
}

var whereabouts = regexp.MustCompile(`HTTP at (\S+), NATS at ([^;\s]+)`)

// Serve starts busd with the configuration, and waits for its announcement. Where the configuration says nothing of
// NATS and HTTP, both are on free ports.
func Serve(t *testing.T, config string, args ...string) *Daemon {
	t.Helper()
	d := Prepare(t, config, args...)
	d.Start()
	return d.Announced()
}

func Prepare(t *testing.T, config string, args ...string) *Daemon {
	t.Helper()
	file := filepath.Join(t.TempDir(), "busd.yaml")
	Write(t, file, complete(config))
	args = append([]string{"serve", "--config", file}, args...)
	return &Daemon{Process: Command(t, Busd, args...), Caller: Call(t, ""), File: file}
}

// complete fills in what most tests do not care for.
func complete(config string) string {
	for key, text := range map[string]string{
		"server_name:": "server_name: example.com\n", "nats:": "nats: {listen: '127.0.0.1:0'}\n", "http:": "http: {listen: '127.0.0.1:0'}\n",
	} {
		if !strings.HasPrefix(config, key) && !strings.Contains(config, "\n"+key) {
			config = text + config
		}
	}
	return config
}

func (d *Daemon) Announced() *Daemon {
	d.Helper()
	d.Announce = d.Stdout.Line(d.T, "busd: ")
	m := whereabouts.FindStringSubmatch(d.Announce)
	if m == nil {
		d.Fatalf("%q does not say where busd is", d.Announce)
	}
	d.URL, d.NATS = m[1], m[2]
	return d
}

// Reconfigure changes the configuration file, as an editor would: at once.
func (d *Daemon) Reconfigure(config string) {
	d.Helper()
	Write(d.T, d.File+".new", complete(config))
	if err := os.Rename(d.File+".new", d.File); err != nil {
		d.Fatal(err)
	}
}

func Write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Worker starts a worker of a module that busd does not run.
func (d *Daemon) Worker(name, module string, env ...string) *Process {
	d.Helper()
	return Worker(d.T, d.NATS, name, module, env...)
}

func Worker(t *testing.T, nats, name, module string, env ...string) *Process {
	t.Helper()
	return Command(t, name).With("MODULEBUS_NATS_URL="+nats, "MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE="+module).With(env...).Start()
}

// Run runs one of busd's other commands.
func Run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return Command(t, Busd, args...).Run()
}

// FreeAddress is one that nobody listens on, and that nobody else is given for a while.
func FreeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Measured is the sum of a metric's samples.
func (d *Daemon) Measured(name string) (sum float64) {
	d.Helper()
	_, out := d.Request("GET", "/metrics", nil)
	found := false
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) != 2 || words[0] != name && !strings.HasPrefix(words[0], name+"{") {
			continue
		}
		n, err := strconv.ParseFloat(words[1], 64)
		if err != nil {
			d.Fatal(err)
		}
		sum, found = sum+n, true
	}
	if !found {
		d.Fatalf("busd has no metric %s", name)
	}
	return sum
}
