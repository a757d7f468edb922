package natsrequest

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/batch"
)

// crowded has the outbox believe that others wait, or not.
func crowded(crowd bool) func(Ticket, waiter) (bool, error) {
	return func(Ticket, waiter) (bool, error) { return crowd, nil }
}

// contents are the data of a parcel's requests, as the worker gets them.
func contents(p parcel) [][]byte {
	if p.count == 1 {
		return [][]byte{p.request.Data}
	}
	_, questions, err := batch.Questions(nil, p.frame)
	if err != nil {
		return nil
	}
	var all [][]byte
	for _, q := range questions {
		all = append(all, q.Data)
	}
	return all
}

func TestOutboxPublishesOnceAndInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		senders, each := rapid.IntRange(1, 8).Draw(t, "senders"), rapid.IntRange(1, 40).Draw(t, "requests of each")
		crowd, most := rapid.Bool().Draw(t, "crowd"), rapid.Uint32Range(2, 5).Draw(t, "most together")
		workers := []*Batch{nil, {Most: most}, {Most: most}}
		batches := rapid.SliceOfN(rapid.SampledFrom(workers), senders, senders).Draw(t, "workers")
		var published sync.WaitGroup
		published.Add(senders * each)
		got := make([][]uint64, senders) // One publishes at a time, so there is no lock.
		o := newOutbox(crowded(crowd), func(p parcel) {
			if p.count > 1 && (p.request.Batch == nil || p.count > int(most)) {
				t.Errorf("%d requests travelled together, and %v may", p.count, p.request.Batch)
			}
			for _, data := range contents(p) {
				sender := binary.BigEndian.Uint32(data)
				got[sender] = append(got[sender], uint64(binary.BigEndian.Uint32(data[4:])))
				published.Done()
			}
		})
		for i := range senders {
			go func() {
				data := make([]byte, 8)
				binary.BigEndian.PutUint32(data, uint32(i))
				for n := range each {
					binary.BigEndian.PutUint32(data[4:], uint32(n)) // The data is the sender's again after send.
					_, _ = o.send(Request{Data: data, Batch: batches[i]}, waiter{})
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

func TestHeldRequestsArePublishedTogether(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		held := rapid.SliceOfN(rapid.Bool(), 1, 10).Draw(t, "held")
		var got []byte
		o := newOutbox(crowded(false), func(p parcel) { got = append(got, p.request.Data...) })
		data := make([]byte, 1)
		for i, waits := range held {
			data[0] = byte(i) // The data is the sender's again after send.
			_, _ = o.send(Request{Data: data, Held: waits}, waiter{})
			if want := i + 1; !waits && len(got) != want {
				t.Fatalf("%d of %d are published", len(got), want)
			}
			if before := len(got); waits && before > 0 && int(got[before-1]) == i {
				t.Fatalf("%d was not held", i)
			}
		}
		o.release()
		if len(got) != len(held) || !slices.IsSorted(got) {
			t.Fatalf("published %v of %d", got, len(held))
		}
		o.close() // It waits for nobody.
	})
}

func TestClosedOutboxPublishesNothingThatWasHeld(t *testing.T) {
	t.Parallel()
	o := newOutbox(crowded(false), func(parcel) { t.Error("published") })
	_, _ = o.send(Request{Held: true}, waiter{})
	o.close()
	o.release()
}

func TestOutboxGivesEachRequestATicketOfItsOwn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tickets := map[Ticket]bool{}
		o := newOutbox(func(t Ticket, _ waiter) (bool, error) { tickets[t] = true; return false, nil }, func(parcel) {})
		o.open = true // Nobody publishes: what is sent stays together.
		b := &Batch{Most: 1 << 20}
		n := rapid.IntRange(1, 3*batch.Most).Draw(t, "requests")
		for range n {
			_, _ = o.send(Request{Batch: b, Data: rapid.SliceOfN(rapid.Byte(), 0, 1000).Draw(t, "data")}, waiter{})
		}
		if len(tickets) != n {
			t.Errorf("%d requests have %d tickets", n, len(tickets))
		}
		for _, p := range o.in {
			if p.count > batch.Most || len(p.frame) > maxBatch+maxTogether {
				t.Errorf("%d requests in %d bytes travel together", p.count, len(p.frame))
			}
		}
	})
}

func TestOutboxHoldsNoSenderForOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		blocked, first := make(chan struct{}), true
		var published []string
		o := newOutbox(crowded(false), func(p parcel) {
			if first {
				first = false
				<-blocked
			}
			published = append(published, string(p.request.Data))
		})
		send := func(name string) { _, _ = o.send(Request{Data: []byte(name)}, waiter{}) }
		done := make(chan struct{})
		go func() { defer close(done); send("0") }()
		synctest.Wait()
		for _, name := range []string{"1", "2", "3"} { // The connection takes nothing, but nobody else waits for it.
			send(name)
		}
		close(blocked)
		<-done
		synctest.Wait()
		if want := []string{"0", "1", "2", "3"}; !slices.Equal(published, want) {
			t.Errorf("published %v, not %v", published, want)
		}
	})
}

func TestOutboxCloseWaitsForWhatIsBeingPublished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		blocked := make(chan struct{})
		published, closed := 0, false
		o := newOutbox(crowded(false), func(p parcel) { <-blocked; published += p.count })
		send := func() { _, _ = o.send(Request{}, waiter{}) }
		go send()
		synctest.Wait()
		send()
		go func() { o.close(); closed = true }()
		synctest.Wait()
		if closed {
			t.Error("close returned while a request was being published")
		}
		send() // Too late.
		close(blocked)
		synctest.Wait()
		if !closed || published != 2 {
			t.Errorf("closed: %v, %d requests published", closed, published)
		}
	})
}

func TestOutboxPublishesNothingThatIsNotAwaited(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	var fail error
	published := 0
	o := newOutbox(func(Ticket, waiter) (bool, error) { return false, fail }, func(p parcel) { published += p.count })
	b := &Batch{Most: 8}
	fail = refused
	if _, err := o.send(Request{Batch: b}, waiter{}); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	fail = nil
	if _, err := o.send(Request{Batch: b}, waiter{}); err != nil || published != 1 {
		t.Errorf("%d requests were published, %v", published, err)
	}
}
