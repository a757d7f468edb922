package gateway

import (
	"sync"
	"time"
)

// timer is a [time.Timer] that may never fire.
type timer struct{ t *time.Timer }

// timers are stopped timers, for reuse.
var timers = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}}

func newTimer(d time.Duration) *timer {
	t := &timer{}
	t.reset(d)
	return t
}

func (t *timer) c() <-chan time.Time {
	if t.t == nil {
		return nil
	}
	return t.t.C
}

func (t *timer) reset(d time.Duration) {
	if d <= 0 {
		t.stop()
		return
	}
	if t.t == nil {
		t.t = timers.Get().(*time.Timer)
	}
	t.t.Reset(d)
}

func (t *timer) stop() {
	if t.t != nil {
		t.t.Stop() // Its channel is empty, too.
		timers.Put(t.t)
		t.t = nil
	}
}
