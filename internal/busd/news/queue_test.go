package news

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// stage is a module that handles news, refuses some of it for a while, and is away at times, in a time that is only counted. It
// checks what it is told.
type stage struct {
	*rapid.T
	queue    *queue
	now      time.Time
	away     bool
	out      []*item
	handled  map[uint64]bool
	lastOf   map[string]uint64 // by key
	stubborn map[uint64]int    // how often a piece is refused yet
}

func newStage(t *rapid.T, pieces, keys int) *stage {
	s := &stage{
		T: t, queue: newQueue(), now: time.Unix(1_000_000, 0), handled: map[uint64]bool{}, lastOf: map[string]uint64{}, stubborn: map[uint64]int{},
	}
	for seq := uint64(1); seq <= uint64(pieces); seq++ {
		s.stubborn[seq] = rapid.IntRange(-3, 3).Draw(t, "refusals")
		data := make([]byte, rapid.IntRange(0, 9).Draw(t, "bytes"))
		s.queue.add(&item{seq: seq, key: string(rune('a' + rapid.IntRange(0, keys-1).Draw(t, "key"))), data: data})
	}
	return s
}

// tell takes what is to be told now, and checks it.
func (s *stage) tell() {
	for n := s.queue.take(s.now); n != nil; n = s.queue.take(s.now) {
		if s.handled[n.seq] || n.seq < s.lastOf[n.key] {
			s.Fatalf("%d of key %s was told after %d was handled", n.seq, n.key, s.lastOf[n.key])
		}
		for _, other := range s.out {
			if other.key == n.key {
				s.Fatalf("%d and %d of key %s are told at once", other.seq, n.seq, n.key)
			}
		}
		s.out = append(s.out, n)
	}
}

// holds checks what the queue says of itself.
func (s *stage) holds() {
	bytes := 0
	for seq, n := range s.queue.items {
		if s.handled[seq] || s.queue.find(seq) != n {
			s.Fatalf("%d is handled, and in the queue", seq)
		}
		bytes += len(n.data)
	}
	if bytes != s.queue.held {
		s.Fatalf("the queue holds %d bytes and says %d", bytes, s.queue.held)
	}
}

// settle ends the telling of one piece, whichever.
func (s *stage) settle() {
	defer s.holds()
	i := rapid.IntRange(0, len(s.out)-1).Draw(s.T, "which")
	n := s.out[i]
	s.out = append(s.out[:i], s.out[i+1:]...)
	switch {
	case s.away:
		s.queue.silent(n.asked, s.now)
		s.queue.unheard(n)
	case s.stubborn[n.seq] > 0:
		s.stubborn[n.seq]--
		s.queue.heard(s.now)
		s.queue.failed(n, s.now)
	default:
		s.queue.heard(s.now)
		s.queue.done(n)
		s.handled[n.seq], s.lastOf[n.key] = true, n.seq
	}
}

// pass has time pass, to when there is something to tell.
func (s *stage) pass() {
	next := s.queue.next()
	if next.IsZero() || next.Sub(s.now) > maxDelay {
		s.Fatalf("nothing is told before %v, and it is %v", next, s.now)
	}
	if next.After(s.now) {
		s.now = next
	}
}

func TestQueueTellsEachPieceInOrderUntilItIsHandled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.IntRange(1, 40).Draw(t, "pieces")
		s := newStage(t, pieces, rapid.IntRange(1, 5).Draw(t, "keys"))
		absences := rapid.IntRange(0, 6).Draw(t, "absences")
		for len(s.handled) < pieces {
			s.tell()
			switch {
			case len(s.out) == 0:
				s.pass()
			default:
				s.settle()
			}
			if absences > 0 && rapid.IntRange(0, 9).Draw(t, "goes or comes") == 0 {
				s.away = !s.away
				absences--
			} else if absences == 0 {
				s.away = false
			}
		}
		if len(s.queue.rows) > 0 || s.queue.out > 0 {
			t.Fatalf("%d keys are left, %d are being told", len(s.queue.rows), s.queue.out)
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
