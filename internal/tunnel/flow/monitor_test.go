package flow_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
)

// TestWakeEndsAllWaits has several wait at once, again and again: what one wait leaves behind ends no later one.
func TestWakeEndsAllWaits(t *testing.T) {
	t.Parallel()
	const waiters, times = 3, 100
	m, now := &flow.Monitor{}, 0
	var running sync.WaitGroup
	for range waiters {
		running.Go(func() {
			m.Lock()
			defer m.Unlock()
			for now < times {
				if err := m.Wait(flow.Limits{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range times {
		m.Lock()
		now++
		m.Wake()
		m.Unlock()
	}
	running.Wait()
}

func TestWaitThatTimedOutLeavesNothing(t *testing.T) {
	t.Parallel()
	over := make(chan time.Time)
	close(over)
	m := &flow.Monitor{}
	m.Lock()
	defer m.Unlock()
	for range 100 {
		if err := m.Wait(flow.Limits{Timer: over}); !errors.Is(err, flow.ErrTimer) {
			t.Fatal(err)
		}
		m.Wake()
	}
}
