package supervise

import (
	"fmt"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

const (
	pollTime   = 10 * time.Millisecond // between looks at a group; nothing tells when a stranger's child ends
	killTime   = time.Second           // from SIGKILL to giving up
	lingerTime = time.Second           // for output that a process outside the group holds open
)

// clear ends what is left of the process's group, and then its output. It may be called when wait has returned.
//
// When the last member of a group is gone, its number may be used again, so no signal is sent to a group that was seen
// to be gone. Numbers are assigned in turn, so one is not used again between a look and a signal.
func (p *process) clear(log zerolog.Logger) error {
	defer p.closeInput()
	if gone(p.pid()) {
		return nil
	}
	_ = p.terminate()
	if goneBy(p.pid(), p.asked.Add(p.drain)) {
		return nil
	}
	log.Warn().Int("pid", p.pid()).Stringer("drain", p.drain).Msg("killing what is left of the worker's process group")
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	if goneBy(p.pid(), time.Now().Add(killTime)) {
		return nil
	}
	err := fmt.Errorf("process group %d is still there after SIGKILL", p.pid())
	log.Error().Err(err).Msg("worker left processes behind")
	return err
}

// goneBy waits until the group is gone or the deadline has passed, and reports whether it is gone.
func goneBy(group int, deadline time.Time) bool {
	tick := time.NewTicker(pollTime)
	defer tick.Stop()
	for !gone(group) {
		if !(<-tick.C).Before(deadline) {
			return gone(group)
		}
	}
	return true
}

// gone reports whether no process of the group runs. Its leader must have been waited for: orphans in the group that
// became this process's children, as happens when it is a container's first process, are reaped here.
func gone(group int) bool {
	reap(group)
	return syscall.Kill(-group, 0) == syscall.ESRCH || !running(group)
}

func reap(group int) {
	for {
		pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil)
		if pid <= 0 && err != syscall.EINTR {
			return
		}
	}
}
