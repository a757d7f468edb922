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
	waiter  chan struct{} // has room for one, and gets it when anything changes; nil while nobody waits
}

// waiters are channels for one who waits, for reuse.
var waiters = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

// Wake ends all waits. The lock must be held.
func (m *Monitor) Wake() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
	if m.waiter != nil {
		m.waiter <- struct{}{} // It has room: nobody sends twice.
		m.waiter = nil
	}
}

// Changed returns a channel that the next Wake closes. The lock must be held.
func (m *Monitor) Changed() <-chan struct{} {
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.changed
}

// enter begins a wait. It returns the channel of the next Wake, and own, for leave: the same where nobody else waits. The lock must be
// held.
func (m *Monitor) enter() (changed <-chan struct{}, own chan struct{}) {
	if m.waiter != nil {
		return m.Changed(), nil
	}
	m.waiter = waiters.Get().(chan struct{})
	return m.waiter, m.waiter
}

// leave ends a wait. The lock must be held.
func (m *Monitor) leave(own chan struct{}) {
	switch own {
	case nil:
		return
	case m.waiter:
		m.waiter = nil
	default: // Wake has sent.
		select {
		case <-own:
		default:
		}
	}
	waiters.Put(own)
}

// Wait blocks until the next Wake, or returns an error when a limit is reached: the cause of the context's end,
// [os.ErrDeadlineExceeded] or [ErrTimer]. The lock must be held; it is released during the wait.
func (m *Monitor) Wait(l Limits) error {
	changed, own := m.enter()
	m.Unlock()
	defer func() {
		m.Lock()
		m.leave(own)
	}()
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
