package flow_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
)

func TestDeadlineCanBeMoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d flow.Deadline
		d.Set(time.Now().Add(time.Second))
		d.Set(time.Now().Add(time.Minute))
		c := d.Channel()
		time.Sleep(59 * time.Second) //nolint:forbidigo // the clock is synctest's
		if flow.IsClosed(c) {
			t.Error("it passed when it was set first")
		}
		<-c
		d.Set(time.Time{})
		if flow.IsClosed(d.Channel()) {
			t.Error("never has passed")
		}
	})
}

func TestBufferIsAsLongAsAsked(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 16 << 10, 16<<10 + 1, 1 << 20, 2 << 20} {
		if got := len(flow.Buffer(n)); got != n {
			t.Errorf("%d bytes, want %d", got, n)
		}
	}
}

func TestChunkHoldsAFrame(t *testing.T) {
	t.Parallel()
	c := (&flow.Stream{}).Chunk()
	defer flow.Release(c)
	if len(c) <= flow.Room || flow.Inline(1<<20) != 32<<10 || flow.Inline(1000) != 500 {
		t.Errorf("%d bytes; %d and %d in one frame", len(c), flow.Inline(1<<20), flow.Inline(1000))
	}
}
