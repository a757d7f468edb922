package tunnel

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errTimer is what a wait ends with when the timer in its limits fires.
var errTimer = errors.New("tunnel: time is up")

// stream is what each end of a stream has: what came in and is not read yet, what may be sent, and how it ended. The
// methods that take frames never block.
type stream struct {
	line   Line
	budget *budget
	stats  *Stats
	token  string // ours

	mu      sync.Mutex
	peer    Address       // where to send; empty while it is not known
	err     error         // why the stream ended before its time; the first reason stays
	changed chan struct{} // closed when anything here changes; nil while nobody waits

	queue    []part
	received uint64
	consumed uint64
	granted  uint64
	window   int64 // what to grant beyond consumed
	held     int64 // what the budget has lent
	lent     bool
	ended    bool // the peer has sent all
	trailers []Field

	credit uint64
	sent   uint64
	done   bool   // all was sent
	stuck  int    // how often the peer seemed to have lost something
	seen   uint64 // received, when it first seemed so
}

// limits say how long to wait. Each may be nil.
type limits struct {
	ctx      context.Context //nolint:containedctx // it is passed on at once
	deadline <-chan struct{}
	timer    <-chan time.Time
}

// wake tells all who wait. The lock is held.
func (s *stream) wake() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// wait returns when something has changed, or with an error when a limit is reached. The lock is held before and after.
func (s *stream) wait(l limits) error {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	var done <-chan struct{}
	if l.ctx != nil {
		done = l.ctx.Done()
	}
	select {
	case <-changed:
		return nil
	case <-done:
		return context.Cause(l.ctx)
	case <-l.deadline:
		return os.ErrDeadlineExceeded
	case <-l.timer:
		return errTimer
	}
}

// fail ends the stream, unless it has ended. It reports whether it did. What came in before can still be read.
func (s *stream) fail(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	s.err = err
	s.wake()
	return true
}

// lend opens the way in: the first credit that the peer gets.
func (s *stream) lend() (credit uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lent {
		return s.granted, true
	}
	s.held, s.lent = s.budget.open()
	s.window, s.granted = s.held, uint64(s.held)
	return s.granted, s.lent
}

// settle gives back all credit.
func (s *stream) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lent {
		s.budget.close(s.held)
		s.lent = false
	}
}

// push takes in data, and the end with the last of it, so that who reads the one knows of the other. The frame is the
// stream's from now on. It returns why the stream must be reset, or 0.
func (s *stream) push(d *Data, frame []byte) Code {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return 0
	case s.ended || d.Offset != s.received:
		return CodeLost
	case s.received+uint64(len(d.Bytes)) > s.granted:
		return CodeFlow
	}
	s.received += uint64(len(d.Bytes))
	s.enqueue(part{d.Bytes, frame})
	s.ended = d.Last
	s.wake()
	return 0
}

// small is what is not worth a piece of memory of its own.
const small = 512

// enqueue gathers small pieces, so that what is held is a small multiple of what was granted.
func (s *stream) enqueue(p part) {
	if len(p.bytes) == 0 {
		return
	}
	if n := len(s.queue); n > 0 && len(p.bytes) <= small {
		last := &s.queue[n-1]
		if cap(last.bytes)-len(last.bytes) >= len(p.bytes) {
			last.bytes = append(last.bytes, p.bytes...)
			return
		}
		p = part{bytes: append(make([]byte, 0, 4*small), p.bytes...)}
	}
	s.queue = append(s.queue, p)
}

// end takes in that the peer has sent all. It returns why the stream must be reset, or 0.
func (s *stream) end(offset uint64, trailers []Field) Code {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return 0
	case s.ended || offset != s.received:
		return CodeLost
	}
	s.ended, s.trailers = true, trailers
	s.wake()
	return 0
}

// next waits for the next piece of what comes in. It returns [io.EOF] after the last, and more is whether another piece
// is there already. What came in before the stream failed is read first.
func (s *stream) next(l limits) (p part, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 {
		switch {
		case s.ended:
			return part{}, false, io.EOF
		case s.err != nil:
			return part{}, false, s.err
		}
		if err := s.wait(l); err != nil {
			return part{}, false, err
		}
	}
	p, s.queue[0] = s.queue[0], part{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return p, len(s.queue) > 0 || s.ended, nil
}

// took says that n bytes were read, and lets the peer send more when half of its window is used up. A reader that
// keeps up gets a larger window.
func (s *stream) took(n int) {
	if credit, ok := s.regrant(n); ok {
		s.send(Control, &Credit{credit})
	}
}

func (s *stream) regrant(n int) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumed += uint64(n)
	out := int64(s.granted - s.consumed)
	if s.ended || !s.lent || out > s.window/2 {
		return 0, false
	}
	if len(s.queue) == 0 {
		s.window = min(2*s.window, windowMost)
	}
	s.held = s.budget.extend(s.held, out, s.window)
	s.window = s.held
	s.granted = max(s.granted, s.consumed+uint64(s.held))
	return s.granted, true
}

// grant takes in how much may be sent.
func (s *stream) grant(credit uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if credit > s.credit {
		s.credit = credit
		s.wake()
	}
}

// reserve waits until there is credit, and takes it for n bytes at most.
func (s *stream) reserve(n int, l limits) (offset uint64, got int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	began := time.Time{}
	for s.err == nil && s.credit == s.sent {
		if began.IsZero() {
			began = time.Now()
		}
		if err := s.wait(l); err != nil {
			return 0, 0, err
		}
	}
	if !began.IsZero() {
		s.stats.CreditWait.Add(int64(time.Since(began)))
	}
	if s.err != nil {
		return 0, 0, s.err
	}
	got = int(min(uint64(n), s.credit-s.sent))
	offset = s.sent
	s.sent += uint64(got)
	return offset, got, nil
}

// write sends buf[maxDataHead:], and may write over buf; after the last, all was sent. One goroutine at a time may send,
// or the order is lost. It returns how much of it was sent.
func (s *stream) write(buf []byte, last bool, l limits) (n int, err error) {
	at := maxDataHead
	for at < len(buf) {
		offset, got, err := s.reserve(min(len(buf)-at, chunkOf(s.line.MaxFrame())), l)
		if err != nil {
			return at - maxDataHead, err
		}
		end := last && at+got == len(buf)
		var head [maxDataHead]byte
		h := appendDataHead(head[:0], offset, end)
		frame := buf[at-len(h) : at+got]
		copy(frame, h)
		if end {
			s.conclude()
		}
		if err := s.post(Bulk, frame); err != nil {
			return at - maxDataHead, err
		}
		at += got
	}
	return at - maxDataHead, nil
}

// finish sends that all was sent, unless the last of it said so.
func (s *stream) finish(trailers []Field) error {
	sent, said := s.conclude()
	if said {
		return nil
	}
	return s.post(Bulk, Append(nil, &End{sent, trailers}))
}

// conclude notes that all was sent. It returns how much that is, and whether it was noted before.
func (s *stream) conclude() (sent uint64, before bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.done = s.done, true
	return s.sent, before
}

// send sends a frame that may get lost: what it says is said again, or comes to light otherwise.
func (s *stream) send(by Channel, f Frame) { _ = s.post(by, Append(nil, f)) }

// post sends a frame; if that is not possible, the stream has failed.
func (s *stream) post(by Channel, frame []byte) error {
	s.mu.Lock()
	peer := s.peer
	s.mu.Unlock()
	if peer.Process == "" {
		return nil
	}
	err := s.line.Send(by, peer, s.token, frame)
	if err != nil {
		s.fail(errors.Join(ErrLost, err))
	}
	s.stats.FramesOut.Add(1)
	s.stats.BytesOut.Add(int64(len(frame)))
	return err
}

// state is what a heartbeat tells the peer.
func (s *stream) state(token string) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	if s.done {
		sent++ // The end counts as one byte more.
	}
	return State{Token: token, Credit: s.granted, Sent: sent}
}

// compare takes in what a heartbeat of the peer tells. It reports whether something was lost for sure: nothing came in
// from one heartbeat to the next although the peer says that it had sent it.
func (s *stream) compare(other State) (lost bool) {
	s.grant(other.Credit)
	s.mu.Lock()
	defer s.mu.Unlock()
	missing := !s.ended && (other.Gone || other.Sent > s.received)
	if !missing || s.stuck > 0 && s.seen != s.received {
		s.stuck = 0
	}
	if missing {
		s.stuck++
		s.seen = s.received
	}
	return s.stuck > 1
}

// Stats count what happens to the streams of one process. They only grow, but for Open.
type Stats struct {
	FramesIn, FramesOut, BytesIn, BytesOut atomic.Int64
	CreditWait                             atomic.Int64     // nanoseconds spent waiting for credit
	Open                                   atomic.Int64     // streams there are now
	ResetsIn, ResetsOut                    [16]atomic.Int64 // by Code; what is over 15 counts as 0
}

func count(by *[16]atomic.Int64, c Code) {
	if int(c) >= len(by) {
		c = 0
	}
	by[c].Add(1)
}

// ResetsReceived is how many streams the peers have reset for the reason.
func (s *Stats) ResetsReceived(c Code) int64 { return s.ResetsIn[c].Load() }

// ResetsSent is how many streams were reset for the reason.
func (s *Stats) ResetsSent(c Code) int64 { return s.ResetsOut[c].Load() }
