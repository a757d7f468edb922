//go:build unix && !linux

package supervise

import "syscall"

// attributes make a process lead its own group. It outlives this process, should that be killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// running is asked of groups that have members; that one may be a zombie matters in containers, which are Linux.
func running(int) bool { return true }
