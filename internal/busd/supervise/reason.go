package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// terminated is the status of a shell that SIGTERM ended.
const terminated = 128 + int(syscall.SIGTERM)

// exit returns how the process ended; wait must have returned.
func (p *process) exit(who Worker, stopping bool) Exit {
	e := Exit{Worker: who, Status: p.cmd.ProcessState.ExitCode(), Said: p.heard.Last()}
	e.orderly = e.Status == 0 || e.Status == terminated || signalOf(p.cmd.ProcessState) == syscall.SIGTERM
	if why := p.why(e.Status, stopping); why != "" {
		e.Err = fmt.Errorf("%s: worker %d: %s", p.module, who.Ordinal, why)
	}
	return e
}

// ended makes it the exit of a process that busd ended, for that reason.
func (e *Exit) ended(module string, why endedError) {
	e.orderly, e.ordered = false, true
	e.Err = fmt.Errorf("%s: worker %d: was ended by busd: %w", module, e.Ordinal, why)
}

// why says what is wrong with how the process ended; empty if it did what it was asked.
func (p *process) why(status int, stopping bool) string {
	sig := signalOf(p.cmd.ProcessState)
	switch {
	case stopping && (status == 0 || status == terminated || sig == syscall.SIGTERM):
		return ""
	case stopping && sig == syscall.SIGKILL && time.Since(p.asked) >= p.drain:
		return fmt.Sprintf("killed: still running %v after SIGTERM; it must end when it gets SIGTERM", p.drain)
	case status == Refused:
		return fmt.Sprintf("refused its configuration (exit status %d); correct it, and it is started again", status)
	case status == 0:
		return "ended without being asked to by busd (exit status 0)"
	case status > 0:
		return fmt.Sprintf("exit status %d", status)
	}
	return p.cmd.ProcessState.String()
}

// signalOf returns the signal that ended a process; -1: none did.
func signalOf(s *os.ProcessState) syscall.Signal {
	if s == nil {
		return -1
	}
	return s.Sys().(syscall.WaitStatus).Signal()
}

// cannotStart makes an error of a failed start that says what is wrong, where, and what to do.
func (o *Options) cannotStart(ordinal int, err error) error {
	return fmt.Errorf("%s: worker %d: cannot start %q in %s: %w; %s",
		o.Module, ordinal, o.Command[0], o.dir(), cause(err), o.advice(err))
}

// cause removes what the message says anyway from an error.
func cause(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func (o *Options) advice(err error) string {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Sprintf("install it, or write its path; PATH is %q", os.Getenv("PATH"))
	case !isDir(o.dir()):
		return "that directory does not exist; create it, or name another"
	case errors.Is(err, fs.ErrNotExist):
		return "write a path that exists from there; of a script, its interpreter must exist too"
	case errors.Is(err, fs.ErrPermission):
		return "make it executable (chmod +x) for the user that busd runs as"
	}
	return "it will be tried again"
}

func (o *Options) dir() string {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o.Dir
	}
	return dir
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
