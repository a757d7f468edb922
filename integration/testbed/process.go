package testbed

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Process is a program under way.
type Process struct {
	t      *testing.T
	Cmd    *exec.Cmd
	Stdout *Transcript
	Stderr *Transcript

	// Patience is how long Wait waits. Default: [Patience].
	Patience time.Duration

	ended chan struct{}
}

// Command prepares one of our programs with its arguments.
func Command(t *testing.T, folder string, args ...string) *Process {
	t.Helper()
	return Execute(t, Program(t, folder), args...)
}

// Execute prepares any program with its arguments, in a folder of its own.
func Execute(t *testing.T, path string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, Cmd: exec.Command(path, args...), Stdout: NewTranscript(), Stderr: NewTranscript(), Patience: Patience, ended: make(chan struct{})}
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

// Signal sends a signal; a process that has ended is none to complain of.
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
	case <-time.After(p.Patience):
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
