package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// System calls that every architecture has by the same number.
const (
	pidfdOpen  = 434
	pidfdGetfd = 438
)

// commandOutput is the standard output of the go command, if that is who runs the test; elsewhere it is our own.
func commandOutput() *os.File {
	parent := os.Getppid()
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", parent))
	if err != nil || filepath.Base(exe) != "go" {
		return os.Stdout
	}
	process, _, raisedError := syscall.Syscall(pidfdOpen, uintptr(parent), 0, 0)
	if raisedError != 0 {
		return os.Stdout
	}
	defer syscall.Close(int(process))
	out, _, raisedError := syscall.Syscall(pidfdGetfd, process, uintptr(syscall.Stdout), 0)
	if raisedError != 0 {
		return os.Stdout
	}
	return os.NewFile(out, "standard output of the go command")
}
