package main

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// patience is how long anything may take to be ready, or to end.
const patience = 60 * time.Second

// stage is where a comparison takes place: a folder, and the processes in it. What is opened on it, close closes, the last
// first.
type stage struct {
	dir     string
	bridge  string   // folder of the bridge's Python package
	kit     string   // folder of the kit's
	busd    string   // the daemon's program
	port    int      // of the next Synapse
	late    *process // a busd that is ready when that Synapse is; nil for none
	policy  string   // of each module in busd's configuration: more of its YAML
	started []*process
	closers []func() error
}

// modules are Synapse's: the check, and the bridge on another client.
//
//go:embed *.py
var modules embed.FS

func newStage() (*stage, error) {
	dir, err := os.MkdirTemp("", "synapsebench-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, busd: filepath.Join(dir, "busd")}
	s.onClose(func() error { return os.RemoveAll(dir) })
	return s, nil
}

// build has all programs ready to be started.
func (s *stage) build(ctx context.Context) error {
	root, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return err
	}
	s.bridge = filepath.Join(strings.TrimSpace(root), "bridges", "synapse")
	s.kit = filepath.Join(strings.TrimSpace(root), "bridges", "python")
	_, err = output(ctx, "go", "build", "-o", s.busd, module+"/cmd/busd")
	return errors.Join(err, os.CopyFS(s.dir, modules))
}

const module = "github.com/modulebus/modulebus"

// output runs a command, and returns what it printed.
func output(ctx context.Context, program string, args ...string) (string, error) {
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", cmd, err, &stderr)
	}
	return string(out), err
}

func (s *stage) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *stage) close() error {
	var errs []error
	for _, f := range slices.Backward(s.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// process is a program under way. What it logs is in a file on the stage.
type process struct {
	*exec.Cmd
	log    string
	stdout *bufio.Reader
	ended  chan struct{}
}

// start starts a program that ends with the stage.
func (s *stage) start(name string, env []string, program string, args ...string) (*process, error) {
	p := &process{Cmd: exec.Command(program, args...), log: filepath.Join(s.dir, name+".log"), ended: make(chan struct{})}
	p.Dir, p.Env = s.dir, append(os.Environ(), env...)
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	stdout, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	p.Stderr, p.Stdout, p.stdout = log, write, bufio.NewReader(stdout)
	if err := p.Start(); err != nil {
		return nil, errors.Join(err, stdout.Close())
	}
	go func() { defer close(p.ended); _ = p.Wait() }() // How it ends interests only those who wait for it to be ready.
	s.started = append(s.started, p)
	s.onClose(func() error { return errors.Join(p.stop(), stdout.Close()) })
	return p, nil
}

func (p *process) stop() error {
	_ = p.Process.Signal(syscall.SIGTERM) // It may be gone.
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s does not end", p.Path), p.Process.Kill())
	}
}

// url is the address in the line by which the process announces that it serves.
func (p *process) url() (string, error) {
	line, err := p.stdout.ReadString('\n')
	_, rest, ok := strings.Cut(line, "HTTP at ")
	if err != nil || !ok {
		return "", p.failed(fmt.Errorf("announced %q: %w", line, err))
	}
	address, _, _ := strings.Cut(rest, ",")
	return address, nil
}

// failed is the error, with the last that the process said.
func (p *process) failed(err error) error {
	const most = 4 << 10
	said, _ := os.ReadFile(p.log)
	return fmt.Errorf("%s: %w\n%s", filepath.Base(p.Path), err, said[max(0, len(said)-most):])
}

// explained is the error, with the last words of whatever process ended by itself.
func (s *stage) explained(err error) error {
	for _, p := range s.started {
		select {
		case <-p.ended:
			err = errors.Join(err, p.failed(fmt.Errorf("it ended: %v", p.ProcessState)))
		default:
		}
	}
	return err
}

// cpu is the time that the process has used of all processors.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, fields, _ := strings.Cut(string(stat), ") ") // The name before may have spaces in it.
	var user, system int64
	const before = 11 // fields that are something else
	_, err = fmt.Sscan(strings.Join(strings.Fields(fields)[before:], " "), &user, &system)
	const tick = 10 * time.Millisecond // of a kernel as it tells users
	return time.Duration(user+system) * tick, err
}
