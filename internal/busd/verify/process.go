package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTime is how long a module may take to drain. Beyond: it is killed.
const stopTime = 12 * time.Second

// process is the running module: a process and the group that it leads, because the command may only start the module.
type process struct {
	cmd   *exec.Cmd
	last  *tail
	done  chan struct{} // closed when it has ended
	asked bool          // it was asked to stop
}

func startProcess(command, env []string, output io.Writer) (*process, error) {
	cmd := exec.CommandContext(context.Background(), command[0], command[1:]...) // It ends when it is told to.
	p := &process{cmd: cmd, last: &tail{to: output}, done: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, p.last, p.last
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = stopTime
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("it does not start: %w", err)
	}
	go func() { defer close(p.done); _ = p.cmd.Wait() }() // Wait returns when the process has ended.
	return p, nil
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// terminate asks the group to stop.
func (p *process) terminate() {
	p.asked = true
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) // It may have ended.
}

// stop asks the module to stop, waits, and reports whether it did in time.
func (p *process) stop() bool {
	p.terminate()
	select {
	case <-p.done:
		return p.gone()
	case <-time.After(stopTime):
		return false
	}
}

// end stops the module, and kills it if that takes too long.
func (p *process) end() {
	if !p.stop() {
		p.kill()
	}
}

// gone waits for the end of the rest of the command's group.
func (p *process) gone() bool {
	for deadline := time.Now().Add(stopTime); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if errors.Is(syscall.Kill(-p.cmd.Process.Pid, 0), syscall.ESRCH) {
			return true
		}
	}
	return false
}

func (p *process) kill() {
	p.asked = true
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// orderly reports whether it ended as a process does that was asked to stop. A program that only starts the module may
// die of the signal.
func (p *process) orderly() bool {
	state := p.cmd.ProcessState
	return state.ExitCode() == 0 || state.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM
}

// refused reports whether it ended with the status of a module that refuses its configuration; "go run" only writes it.
func (p *process) refused() bool {
	const refused = 78
	return p.cmd.ProcessState.ExitCode() == refused || strings.Contains(p.last.text(), fmt.Sprintf("exit status %d", refused))
}

// how says how it ended, and what it said last.
func (p *process) how() string {
	text := "its process ended (" + p.cmd.ProcessState.String() + ")"
	if said := p.last.text(); said != "" {
		text += ", and said last: " + said
	}
	return text
}

// tail passes a process's output on, and keeps its end.
type tail struct {
	to  io.Writer
	mu  sync.Mutex
	end []byte
}

const (
	// maxTail bounds how many bytes of a module's output are kept. Beyond: the oldest are forgotten.
	maxTail = 2048

	// maxLines is how many lines of a module's output are shown. Beyond: only the last ones are.
	maxLines = 12
)

// Write implements [io.Writer].
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, p...)
	t.end = t.end[max(0, len(t.end)-maxTail):]
	if t.to != nil {
		_, _ = t.to.Write(p) // The reader may be gone.
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.end)), "\n")
	return strings.Join(lines[max(0, len(lines)-maxLines):], "\n")
}
