package flow

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// ErrTimer is the error of a wait whose timer fires.
var ErrTimer = errors.New("tunnel: time is up")

// Limits say how long to wait. Each field may be nil.
type Limits struct {
	Ctx      context.Context //nolint:containedctx // it is passed on at once
	Deadline <-chan struct{}
	Timer    <-chan time.Time
}

// Monitor is a mutex with a condition that can be waited for within limits. Its zero value is unlocked.
type Monitor struct {
	sync.Mutex
	changed chan struct{} // closed when anything changes; nil while nobody waits
}

// Wake ends all waits. The lock must be held.
func (m *Monitor) Wake() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// Changed returns a channel that the next Wake closes. The lock must be held.
func (m *Monitor) Changed() <-chan struct{} {
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.changed
}

// Wait blocks until the next Wake, or returns an error when a limit is reached: the cause of the context's end,
// [os.ErrDeadlineExceeded] or [ErrTimer]. The lock must be held; it is released during the wait.
func (m *Monitor) Wait(l Limits) error {
	changed := m.Changed()
	m.Unlock()
	defer m.Lock()
	var done <-chan struct{}
	if l.Ctx != nil {
		done = l.Ctx.Done()
	}
	select {
	case <-changed:
		return nil
	case <-done:
		return context.Cause(l.Ctx)
	case <-l.Deadline:
		return os.ErrDeadlineExceeded
	case <-l.Timer:
		return ErrTimer
	}
}
