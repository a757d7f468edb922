package bus

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/wire"
)

func TestWhatManySendIsPublishedOnceAndInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		senders, each := rapid.IntRange(1, 8).Draw(t, "senders"), rapid.IntRange(1, 40).Draw(t, "requests of each")
		crowd := rapid.Bool().Draw(t, "crowd")
		var published sync.WaitGroup
		published.Add(senders * each)
		got := make([][]uint64, senders) // One publishes at a time, so there is no lock.
		o := outbox{publish: func(ticket wire.Ticket, r wire.Request) {
			got[ticket] = append(got[ticket], binary.BigEndian.Uint64(r.Data))
			published.Done()
		}}
		for i := range senders {
			go func() {
				data := make([]byte, 8)
				for n := range each {
					binary.BigEndian.PutUint64(data, uint64(n)) // The data is the sender's again after send.
					o.send(wire.Ticket(i), wire.Request{Data: data}, crowd)
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

func TestNobodyIsHeldUpByWhatOthersSend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		blocked, first := make(chan struct{}), true
		var published []wire.Ticket
		o := outbox{publish: func(ticket wire.Ticket, _ wire.Request) {
			if first {
				first = false
				<-blocked
			}
			published = append(published, ticket)
		}}
		done := make(chan struct{})
		go func() { defer close(done); o.send(0, wire.Request{}, false) }()
		synctest.Wait()
		for i := range 3 { // The connection takes nothing, but nobody else waits for it.
			o.send(wire.Ticket(i+1), wire.Request{}, false)
		}
		close(blocked)
		<-done
		synctest.Wait()
		if want := []wire.Ticket{0, 1, 2, 3}; !slices.Equal(published, want) {
			t.Errorf("published %v, not %v", published, want)
		}
	})
}
