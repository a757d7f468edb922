package natsrequest

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func TestOutboxPublishesOnceAndInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		senders, each := rapid.IntRange(1, 8).Draw(t, "senders"), rapid.IntRange(1, 40).Draw(t, "requests of each")
		crowd := rapid.Bool().Draw(t, "crowd")
		var published sync.WaitGroup
		published.Add(senders * each)
		got := make([][]uint64, senders) // One publishes at a time, so there is no lock.
		o := newOutbox(func(ticket Ticket, r Request) {
			got[ticket] = append(got[ticket], binary.BigEndian.Uint64(r.Data))
			published.Done()
		})
		for i := range senders {
			go func() {
				data := make([]byte, 8)
				for n := range each {
					binary.BigEndian.PutUint64(data, uint64(n)) // The data is the sender's again after send.
					o.send(Ticket(i), Request{Data: data}, crowd)
				}
			}()
		}
		published.Wait()
		for i, numbers := range got {
			if len(numbers) != each || !slices.IsSorted(numbers) {
				t.Errorf("of sender %d: %v", i, numbers)
			}
		}
	})
}

func TestOutboxHoldsNoSenderForOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		blocked, first := make(chan struct{}), true
		var published []Ticket
		o := newOutbox(func(ticket Ticket, _ Request) {
			if first {
				first = false
				<-blocked
			}
			published = append(published, ticket)
		})
		done := make(chan struct{})
		go func() { defer close(done); o.send(0, Request{}, false) }()
		synctest.Wait()
		for i := range 3 { // The connection takes nothing, but nobody else waits for it.
			o.send(Ticket(i+1), Request{}, false)
		}
		close(blocked)
		<-done
		synctest.Wait()
		if want := []Ticket{0, 1, 2, 3}; !slices.Equal(published, want) {
			t.Errorf("published %v, not %v", published, want)
		}
	})
}

func TestOutboxCloseWaitsForWhatIsBeingPublished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		blocked := make(chan struct{})
		published, closed := 0, false
		o := newOutbox(func(Ticket, Request) { <-blocked; published++ })
		go o.send(0, Request{}, false)
		synctest.Wait()
		o.send(1, Request{}, false)
		go func() { o.close(); closed = true }()
		synctest.Wait()
		if closed {
			t.Error("close returned while a request was being published")
		}
		o.send(2, Request{}, false) // Too late.
		close(blocked)
		synctest.Wait()
		if !closed || published != 2 {
			t.Errorf("closed: %v, %d requests published", closed, published)
		}
	})
}
