package supervise

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/childlog"
)

// process is a started worker: the process, the group that it leads, and its output.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *childlog.Relay
	heard          *childlog.Words
	module         string
	drain          time.Duration
	asked          time.Time // when the group got SIGTERM; zero: it did not
}

// start starts the process, which is asked to stop when ctx ends. The caller's thread must live as long as the process.
func start(ctx context.Context, o *Options, id string, log zerolog.Logger) (*process, error) {
	p := &process{cmd: o.command(ctx, id), module: o.Module, drain: o.Drain, heard: new(childlog.Words)}
	p.cmd.Cancel = p.terminate
	if err := p.open(log); err != nil {
		return nil, err
	}
	err := p.cmd.Start()
	closeOutput(p.cmd)
	if err != nil {
		p.closeInput()
		return nil, err
	}
	return p, nil
}

func (p *process) open(log zerolog.Logger) error {
	out, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, out.Close(), outW.Close())
	}
	p.cmd.Stdout, p.cmd.Stderr = outW, errW
	p.stdout = childlog.Start(out, childlog.Options{Log: log, Stream: "stdout", Level: zerolog.InfoLevel})
	p.stderr = childlog.Start(errR, childlog.Options{Log: log, Stream: "stderr", Level: zerolog.WarnLevel, Words: p.heard})
	return nil
}

// closeOutput closes this process's copies of the child's ends of the pipes, so that the pipes end with their last
// writer.
func closeOutput(cmd *exec.Cmd) {
	cmd.Stdout.(*os.File).Close()
	cmd.Stderr.(*os.File).Close()
}

// closeInput reads the rest of the output, and closes it.
func (p *process) closeInput() {
	deadline := time.Now().Add(lingerTime)
	p.stdout.Close(deadline)
	p.stderr.Close(deadline)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// wait returns when the process has ended, by itself or because ctx ended; then after at most the drain time.
// cmd.ProcessState says how it ended.
func (p *process) wait() { _ = p.cmd.Wait() }

// terminate asks the group to stop, once. Package exec calls it until wait returns, and clear calls it after that.
func (p *process) terminate() error {
	if !p.asked.IsZero() {
		return nil
	}
	p.asked = time.Now()
	err := syscall.Kill(-p.pid(), syscall.SIGTERM)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
