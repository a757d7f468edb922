package supervise

import "sync"

// changes tells any number of waiters that something changed. The zero value is ready.
type changes struct {
	mu   sync.Mutex
	next chan struct{} // closed and forgotten by tell
}

// wait returns a channel that the next tell closes.
func (c *changes) wait() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = make(chan struct{})
	}
	return c.next
}

func (c *changes) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil {
		close(c.next)
	}
	c.next = nil
}
