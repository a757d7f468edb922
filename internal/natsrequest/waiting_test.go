package natsrequest

import (
	"testing"
	"testing/synctest"
	"time"
)

// crowd has a worker that has not answered as many requests as let the next ones wait, and counts those that are published after.
type crowd struct {
	*outbox
	*Batch

	messages, requests int
}

func newCrowd(away int32) *crowd {
	c := &crowd{Batch: &Batch{Most: 64, Route: &Route{}}}
	c.outbox = newOutbox(crowded(false), func(p parcel) { c.messages, c.requests = c.messages+1, c.requests+p.count })
	c.Route.away.Store(away)
	return c
}

func (c *crowd) ask(b *Batch, times int) {
	for range times {
		_, _ = c.send(Request{Batch: b}, waiter{})
	}
}

func (c *crowd) published(t *testing.T, messages, requests int) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.messages != messages || c.requests != requests {
		t.Errorf("%d requests in %d messages were published, not %d in %d", c.requests, c.messages, requests, messages)
	}
}

func TestRequestsBehindManyWaitForAnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(waitBehind + 1)
		c.ask(c.Batch, 5)
		c.published(t, 0, 0)
		c.release()
		c.published(t, 1, 5)
	})
}

func TestRequestsWaitForAnAnswerNoLongerThanTheyMay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(waitBehind + 1)
		for round := 1; round < 4; round++ {
			c.ask(c.Batch, 5)
			<-time.After(waitMost - 1)
			c.published(t, round-1, 5*(round-1))
			<-time.After(1)
			c.published(t, round, 5*round)
		}
	})
}

func TestRequestsBehindFewWaitForNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(0)
		c.ask(c.Batch, 1)
		c.published(t, 1, 1)
		c.ask(c.Batch, waitBehind)
		c.published(t, 1+waitBehind, 1+waitBehind)
		c.ask(c.Batch, 1)
		c.published(t, 1+waitBehind, 1+waitBehind)
	})
}

func TestBusyWorkerMakesOnlyItsOwnRequestsWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(waitBehind + 1)
		c.ask(&Batch{Most: 64, Route: &Route{}}, 1) // of another worker
		c.ask(nil, 1)
		c.published(t, 2, 2)
		c.ask(c.Batch, 1)
		c.published(t, 2, 2)
	})
}

// The answer may come while the connection takes nothing.
func TestRequestsThatWaitAreNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(waitBehind + 1)
		blocked := make(chan struct{})
		count := c.publish
		c.publish = func(p parcel) { <-blocked; count(p) }
		go c.ask(nil, 1)
		synctest.Wait()
		c.ask(c.Batch, 5)
		c.release()
		c.Route.away.Store(0)
		close(blocked)
		c.published(t, 2, 6)
		c.close() // It waits for nobody.
	})
}
