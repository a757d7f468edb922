package nearby

import (
	"os"
	"sync"
	"syscall"
)

// look lets Go's scheduler see what has arrived from the network, and run what waits for it. The scheduler looks there
// only when a processor has nothing else to run, or every 10 ms. Goroutines that move bodies always have something to
// do, and [runtime.Gosched] does not help: a goroutine that yields is run again before the network is looked at. One
// that waits for the network itself is not. So it waits for a byte that it sends itself. Its zero value is ready; its
// methods may be called concurrently.
type look struct {
	opened sync.Once
	read   *os.File // a pipe; nil if there is none
	write  *os.File
	poll   syscall.RawConn // of read
	mu     sync.Mutex
	over   chan struct{} // closed when the look that is under way is over; nil if none is
}

// await returns when the scheduler has looked at the network since the call, or is about to, which takes 10 ms at most. While
// another call waits, it returns with that one, whose look may be a moment older.
func (k *look) await() {
	k.opened.Do(k.open)
	if k.poll == nil {
		return
	}
	k.mu.Lock()
	if over := k.over; over != nil {
		k.mu.Unlock()
		<-over
		return
	}
	over := make(chan struct{})
	k.over = over
	k.mu.Unlock()
	k.pass()
	k.mu.Lock()
	k.over = nil
	k.mu.Unlock()
	close(over)
}

// open makes the pipe. If that fails, nobody waits.
func (k *look) open() {
	read, write, err := os.Pipe()
	if err != nil {
		return
	}
	k.read, k.write = read, write
	k.poll, _ = read.SyscallConn() // It fails only without a file.
}

// pass sends the byte, and waits for it.
func (k *look) pass() {
	one := [1]byte{}
	sent := false
	err := k.poll.Read(func(uintptr) bool {
		if sent {
			return true
		}
		sent = true
		_, err := k.write.Write(one[:])
		return err != nil
	})
	if err == nil {
		_, _ = k.read.Read(one[:]) // As in open, it fails only when the pipe is closed.
	}
}

// close ends all waits. Nobody waits after it.
func (k *look) close() {
	k.opened.Do(func() {})
	if k.poll != nil {
		_ = k.write.Close() // Nothing is lost with it.
		_ = k.read.Close()  // Likewise.
	}
}
