package responder

import (
	"testing"

	"github.com/nats-io/nats.go"
)

func TestRequesterHasPlacesOfItsOwnBeyondTheLimit(t *testing.T) {
	t.Parallel()
	const limit, each = 3, 2
	w := newWorker(limit)
	w.shares = &shares{of: func(m *nats.Msg) string { return m.Subject }, each: each, taken: map[string]int32{}}
	take := func(requester string, places int) {
		t.Helper()
		for range places {
			w.work <- message(requester)
			select {
			case <-w.started:
			case <-w.refused:
				t.Fatalf("%s was refused", requester)
			}
		}
		w.work <- message(requester)
		select {
		case <-w.started:
			t.Fatalf("%s has more than %d places", requester, places)
		case <-w.refused:
		}
	}
	take("greedy", limit)
	take("honest", each)
	take("another", each)
	close(w.finish)
	w.stop()
	if len(w.shares.taken) > 0 || w.busy.Load() != 0 {
		t.Errorf("%v are taken of %d when all have ended", w.shares.taken, w.busy.Load())
	}
}
