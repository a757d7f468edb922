package supervise

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// attributes make a process lead its own group, and get SIGTERM when the thread that started it ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// running reports whether a process of the group is not a zombie. In a container whose first process does not reap,
// zombies stay for ever.
func running(group int) bool {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return true // Without /proc, the group counts as running: it is asked only of groups with members.
	}
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err == nil && inGroup(stat, group) {
			return true
		}
	}
	return false
}

// inGroup reads "pid (name) state parent group …", where a name may contain anything; see proc_pid_stat(5).
func inGroup(stat []byte, group int) bool {
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(f) > 2 && string(f[2]) == strconv.Itoa(group) && f[0][0] != 'Z' && f[0][0] != 'X'
}
