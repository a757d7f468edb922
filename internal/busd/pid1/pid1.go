// Package pid1 does what the first process of a container has to do: it waits for processes whose parents have ended, so that
// none stays a zombie. A module that starts something in the background and leaves it is common, and enough zombies fill a
// container's limit of processes.
//
// It runs the program itself as a child, and does nothing else. In one process, the code that waits for any child could
// take the end of a process away from the code that started it, in the moment before that code knows the process ID.
package pid1

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Needed reports whether this is the first process.
func Needed() bool { return os.Getpid() == 1 }

// Run runs this program again with the arguments, of which the first is its name, and passes signals on to it. It returns the
// exit status when the program has ended; 128 and the number of the signal that ended it, as shells have it. All other
// processes of the container end with the first one.
func Run(args []string) int {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	defer signal.Stop(signals)
	child, err := start(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "busd:", err)
		return 1
	}
	for s := range signals {
		switch s {
		case syscall.SIGURG, syscall.SIGPIPE: // The first is how Go's scheduler talks to itself.
		case syscall.SIGCHLD:
			if status, ended := reap(child.Pid); ended {
				return exitStatus(status)
			}
		default:
			_ = child.Signal(s) // It fails only for a child that has just ended.
		}
	}
	return 0
}

// start starts the program in a process group of its own: a terminal's Ctrl-C is passed on, and must not arrive twice.
func start(args []string) (*os.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return os.StartProcess(self, args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
}

// reap waits for all children that have ended, and reports whether the given child is among them, and how it ended.
func reap(child int) (status syscall.WaitStatus, ended bool) {
	for {
		var s syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &s, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case pid <= 0:
			return status, ended
		case pid == child:
			status, ended = s, true
		}
	}
}

func exitStatus(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
