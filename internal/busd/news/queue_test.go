package news

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a module that handles news, refuses some of it for a while, and is away at times, in a time that is only counted. It
// checks what it is told.
type world struct {
	*rapid.T
	queue    *queue
	now      time.Time
	away     bool
	out      []*item
	handled  map[uint64]bool
	lastOf   map[string]uint64 // by key
	stubborn map[uint64]int    // how often a piece is refused yet
}

func newWorld(t *rapid.T, pieces, keys int) *world {
	w := &world{
		T: t, queue: newQueue(), now: time.Unix(1_000_000, 0), handled: map[uint64]bool{}, lastOf: map[string]uint64{}, stubborn: map[uint64]int{},
	}
	for seq := uint64(1); seq <= uint64(pieces); seq++ {
		w.stubborn[seq] = rapid.IntRange(-3, 3).Draw(t, "refusals")
		data := make([]byte, rapid.IntRange(0, 9).Draw(t, "bytes"))
		w.queue.add(&item{seq: seq, key: string(rune('a' + rapid.IntRange(0, keys-1).Draw(t, "key"))), data: data})
	}
	return w
}

// tell takes what is to be told now, and checks it.
func (w *world) tell() {
	for n := w.queue.take(w.now); n != nil; n = w.queue.take(w.now) {
		if w.handled[n.seq] || n.seq < w.lastOf[n.key] {
			w.Fatalf("%d of key %s was told after %d was handled", n.seq, n.key, w.lastOf[n.key])
		}
		for _, other := range w.out {
			if other.key == n.key {
				w.Fatalf("%d and %d of key %s are told at once", other.seq, n.seq, n.key)
			}
		}
		w.out = append(w.out, n)
	}
}

// holds checks what the queue says of itself.
func (w *world) holds() {
	bytes := 0
	for seq, n := range w.queue.items {
		if w.handled[seq] || w.queue.find(seq) != n {
			w.Fatalf("%d is handled, and in the queue", seq)
		}
		bytes += len(n.data)
	}
	if bytes != w.queue.held {
		w.Fatalf("the queue holds %d bytes and says %d", bytes, w.queue.held)
	}
}

// settle ends the telling of one piece, whichever.
func (w *world) settle() {
	defer w.holds()
	i := rapid.IntRange(0, len(w.out)-1).Draw(w.T, "which")
	n := w.out[i]
	w.out = append(w.out[:i], w.out[i+1:]...)
	switch {
	case w.away:
		w.queue.silent(n.asked, w.now)
		w.queue.unheard(n)
	case w.stubborn[n.seq] > 0:
		w.stubborn[n.seq]--
		w.queue.heard(w.now)
		w.queue.failed(n, w.now)
	default:
		w.queue.heard(w.now)
		w.queue.done(n)
		w.handled[n.seq], w.lastOf[n.key] = true, n.seq
	}
}

// pass has time pass, to when there is something to tell.
func (w *world) pass() {
	next := w.queue.next()
	if next.IsZero() || next.Sub(w.now) > maxDelay {
		w.Fatalf("nothing is told before %v, and it is %v", next, w.now)
	}
	if next.After(w.now) {
		w.now = next
	}
}

func TestQueueTellsEachPieceInOrderUntilItIsHandled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.IntRange(1, 40).Draw(t, "pieces")
		w := newWorld(t, pieces, rapid.IntRange(1, 5).Draw(t, "keys"))
		absences := rapid.IntRange(0, 6).Draw(t, "absences")
		for len(w.handled) < pieces {
			w.tell()
			switch {
			case len(w.out) == 0:
				w.pass()
			default:
				w.settle()
			}
			if absences > 0 && rapid.IntRange(0, 9).Draw(t, "goes or comes") == 0 {
				w.away = !w.away
				absences--
			} else if absences == 0 {
				w.away = false
			}
		}
		if len(w.queue.rows) > 0 || w.queue.out > 0 {
			t.Fatalf("%d keys are left, %d are being told", len(w.queue.rows), w.queue.out)
		}
	})
}

func TestQueueLeavesAModuleAloneThatIsAwayForADay(t *testing.T) {
	t.Parallel()
	q, now := newQueue(), time.Unix(1_000_000, 0)
	for seq := range uint64(500) {
		q.add(&item{seq: seq, key: string(rune(seq + 1))})
	}
	asked, end := 0, now.Add(24*time.Hour)
	for now.Before(end) {
		for n := q.take(now); n != nil; n = q.take(now) {
			asked++
			q.silent(n.asked, now)
			q.unheard(n)
		}
		now = q.next()
	}
	if most := int(24 * time.Hour / maxDelay); asked < most-10 || asked > most+10 {
		t.Errorf("a module that was away for a day was asked %d times, and not about %d", asked, most)
	}
	q.wake()
	if n := q.take(now.Add(-time.Hour)); n == nil {
		t.Error("a module that comes back is not told at once")
	}
}

func TestQueueAsksAModuleThatIsAwayOnePieceAtATime(t *testing.T) {
	t.Parallel()
	q, now := newQueue(), time.Unix(1_000_000, 0)
	q.add(&item{seq: 1, key: "a"})
	q.add(&item{seq: 2, key: "b"})
	first := q.take(now)
	q.silent(first.asked, now)
	q.unheard(first)
	if n := q.take(now); n != nil {
		t.Errorf("told %d at once", n.seq)
	}
	later := now.Add(firstDelay)
	trial := q.take(later)
	if trial == nil || q.take(later) != nil {
		t.Fatal("not one piece is tried")
	}
	q.heard(later)
	q.done(trial)
	if q.take(later) == nil {
		t.Error("the rest is not told when the module answers")
	}
}

func TestDelayGrowsToAMinute(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1 << 30: time.Minute} {
		if got := delay(failures); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
}
