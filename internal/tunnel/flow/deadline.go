package flow

import (
	"sync"
	"time"
)

// Deadline is a point in time that can be moved. Its zero value is never.
type Deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closed when it has passed
}

// Channel returns a channel that is closed when the deadline passes. After a deadline that has passed is moved, it
// returns another one.
func (d *Deadline) Channel() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lazily()
}

func (d *Deadline) lazily() chan struct{} {
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

// Set moves the deadline; the zero time is never.
func (d *Deadline) Set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	passed := d.lazily()
	if d.timer != nil && !d.timer.Stop() {
		<-passed // Its func runs, and closes the channel without the lock.
	}
	d.timer = nil
	if IsClosed(passed) {
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

// IsClosed reports whether c is closed. Nothing must be sent on c.
func IsClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
