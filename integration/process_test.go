package integration_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built is what tests run, built once and when it is first wanted.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func build() {
	if built.dir, built.err = os.MkdirTemp("", "modulebus-programs-"); built.err != nil {
		return
	}
	args := []string{"build", "-o", built.dir + "/"}
	if raceDetector {
		args = append(args, "-race")
	}
	const ours = "./integration/testdata/"
	command := exec.Command("go", append(args, "./cmd/busd", "./cmd/demo-module", ours+"faulty", ours+"webfaulty", ours+"curl")...)
	command.Dir = ".."
	if out, err := command.CombinedOutput(); err != nil {
		built.err = fmt.Errorf("%w: %s", err, out)
	}
}

func removePrograms() { _ = os.RemoveAll(built.dir) }

// program is the path of a program of this module.
func program(t *testing.T, name string) string {
	t.Helper()
	built.once.Do(build)
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, name)
}

// process is a program under way.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *transcript
	stderr *transcript
	ended  chan struct{}
}

// command prepares a program with its arguments, in a folder of its own.
func command(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program(t, name), args...), stdout: newTranscript(), stderr: newTranscript(), ended: make(chan struct{})}
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.cmd.Dir, "TMPDIR=" + p.cmd.Dir, "GORACE=atexit_sleep_ms=0"}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	return p
}

// with adds environment variables.
func (p *process) with(env ...string) *process {
	p.cmd.Env = append(p.cmd.Env, env...)
	return p
}

// start starts the process. What is left of it is killed when the test ends, and what it said is shown if the test failed.
func (p *process) start() *process {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { defer close(p.ended); _ = p.cmd.Wait() }()
	p.t.Cleanup(func() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
		if bytes.Contains(p.stderr.bytes(), []byte("DATA RACE")) {
			p.t.Error("the program has a data race")
		}
		if p.t.Failed() {
			p.t.Logf("%s\nstdout:\n%s\nstderr:\n%s", p.cmd, p.stdout.end(), p.stderr.end())
		}
	})
	return p
}

// run starts the process and waits for its end.
func (p *process) run() (status int, stdout, stderr string) {
	p.t.Helper()
	status = p.start().wait()
	return status, string(p.stdout.bytes()), string(p.stderr.bytes())
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// wait returns the exit status; -1 is a signal's.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.cmd)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop asks the process to stop, and wants exit status 0.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if status := p.wait(); status != 0 {
		p.t.Errorf("%s exited with status %d when it was asked to stop", p.cmd, status)
	}
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

func (s *transcript) bytes() []byte {
	text, _ := s.read()
	return text
}

// end is the last that was written.
func (s *transcript) end() []byte {
	const most = 8 << 10
	text := s.bytes()
	return text[max(0, len(text)-most):]
}

// line returns a whole line that has all the words, once there is one.
func (s *transcript) line(t *testing.T, words ...string) string {
	t.Helper()
	late := time.After(patience)
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

// count is how many lines have all the words.
func (s *transcript) count(words ...string) (n int) {
	for line := range strings.Lines(string(s.bytes())) {
		if _, ok := lineWith([]byte(line), words); ok {
			n++
		}
	}
	return n
}

// daemon is busd as a process.
type daemon struct {
	*process
	*caller
	file     string // its configuration
	announce string // its first line
	nats     string // where its NATS is
}

var whereabouts = regexp.MustCompile(`HTTP at (\S+), NATS at ([^;\s]+)`)

// serve starts busd with the configuration, and waits for its announcement. Where the configuration says nothing of
// NATS and HTTP, both are on free ports.
func serve(t *testing.T, config string, args ...string) *daemon {
	t.Helper()
	d := prepare(t, config, args...)
	d.start()
	return d.announced()
}

func prepare(t *testing.T, config string, args ...string) *daemon {
	t.Helper()
	file := filepath.Join(t.TempDir(), "busd.yaml")
	write(t, file, complete(config))
	args = append([]string{"serve", "--config", file}, args...)
	return &daemon{process: command(t, "busd", args...), caller: call(t, ""), file: file}
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

func (d *daemon) announced() *daemon {
	d.Helper()
	d.announce = d.stdout.line(d.T, "busd: ")
	m := whereabouts.FindStringSubmatch(d.announce)
	if m == nil {
		d.Fatalf("%q does not say where busd is", d.announce)
	}
	d.url, d.nats = m[1], m[2]
	return d
}

// reconfigure changes the configuration file, as an editor would: at once.
func (d *daemon) reconfigure(config string) {
	d.Helper()
	write(d.T, d.file+".new", complete(config))
	if err := os.Rename(d.file+".new", d.file); err != nil {
		d.Fatal(err)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// worker starts a worker of a module that busd does not run.
func (d *daemon) worker(name, module string, env ...string) *process {
	d.Helper()
	return worker(d.T, d.nats, name, module, env...)
}

func worker(t *testing.T, nats, name, module string, env ...string) *process {
	t.Helper()
	return command(t, name).with("MODULEBUS_NATS_URL="+nats, "MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE="+module).with(env...).start()
}

// execute runs one of busd's other commands.
func execute(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return command(t, "busd", args...).run()
}

// freeAddress is one that nobody listens on, and that nobody else is given for a while.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
