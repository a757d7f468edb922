package tunnel

import (
	"sync"
	"time"
)

// deadline is a point in time that can be moved. Its zero value is never.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closed when it has passed
}

// channel returns what is closed when the deadline passes.
func (d *deadline) channel() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lazily()
}

func (d *deadline) lazily() chan struct{} {
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

// set moves the deadline; the zero time is never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	passed := d.lazily()
	if d.timer != nil && !d.timer.Stop() {
		<-passed // Its func runs, and closes the channel without the lock.
	}
	d.timer = nil
	if isClosed(passed) {
		passed = make(chan struct{})
		d.passed = passed
	}
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		close(passed)
	default:
		d.timer = time.AfterFunc(left, func() { close(passed) })
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
