package flow

import (
	"cmp"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// Stream is what each end of a stream has: what has arrived and is not read yet, what may be sent, and how it ended. The
// methods whose names begin with Receive take frames, and never block.
type Stream struct {
	Transport Transport // these four are set before use
	Budget    *Budget
	Stats     *Stats
	Token     string // ours

	Monitor             // guards what follows
	Peer        Address // where to send; empty while it is not known
	Err         error   // why the stream ended before its time; the first reason stays
	SendErr     error   // why the peer takes no more, although more of it may arrive
	ReceivedLen uint64  // of the body that comes in
	Ended       bool    // the peer has sent all
	Trailers    []frame.Field

	line     Line // nil where bodies go over Transport
	left     bool // no line is taken any more
	queue    []Part
	consumed uint64
	granted  uint64
	window   int64 // what to grant beyond consumed
	held     int64 // what the budget has lent
	lent     bool
	credit   uint64
	sent     uint64
	done     bool   // all was sent
	stuck    int    // how often the peer seemed to have lost something
	seen     uint64 // ReceivedLen, when it first seemed so
}

// Fail ends the stream, unless it has ended. It reports whether it did. What came in before can still be read.
func (s *Stream) Fail(err error) bool {
	s.Lock()
	defer s.Unlock()
	if s.Err != nil {
		return false
	}
	s.Err = err
	s.Wake()
	return true
}

// OpenCredit takes the first credit for the peer from the budget. Beyond [MaxStreams] there is none. It may be called
// again, and then returns what is granted.
func (s *Stream) OpenCredit() (credit uint64, ok bool) {
	s.Lock()
	defer s.Unlock()
	if s.lent {
		return s.granted, true
	}
	s.held, s.lent = s.Budget.open()
	s.window, s.granted = s.held, uint64(s.held)
	return s.granted, s.lent
}

// CloseCredit gives all credit back to the budget.
func (s *Stream) CloseCredit() {
	s.Lock()
	defer s.Unlock()
	if s.lent {
		s.Budget.close(s.held)
		s.lent = false
	}
}

// Receives reports whether the peer was given credit, so that data may come in.
func (s *Stream) Receives() bool {
	s.Lock()
	defer s.Unlock()
	return s.lent
}

// Discard forgets what was not read. The lock must be held.
func (s *Stream) Discard() { s.queue = nil }

// ReceiveData takes data, and the end with the last of it, so that whoever reads the one knows of the other. The stream
// keeps raw, the memory that d is in. It returns why the stream must be reset, or 0.
func (s *Stream) ReceiveData(d *frame.Data, raw []byte) frame.Code {
	s.Lock()
	defer s.Unlock()
	switch {
	case s.Err != nil:
		return 0
	case s.Ended || d.Offset != s.ReceivedLen:
		return frame.CodeLost
	case s.ReceivedLen+uint64(len(d.Bytes)) > s.granted:
		return frame.CodeFlow
	}
	s.ReceivedLen += uint64(len(d.Bytes))
	s.enqueue(Part{d.Bytes, raw})
	s.Ended = d.Last
	s.Wake()
	return 0
}

// smallPart is the size up to which parts are copied together, so that what is held is a small multiple of what was
// granted, however small the peer's writes.
const smallPart = 512

func (s *Stream) enqueue(p Part) {
	if len(p.Bytes) == 0 {
		return
	}
	if n := len(s.queue); n > 0 && len(p.Bytes) <= smallPart {
		last := &s.queue[n-1]
		if cap(last.Bytes)-len(last.Bytes) >= len(p.Bytes) {
			last.Bytes = append(last.Bytes, p.Bytes...)
			return
		}
		p = Part{Bytes: append(make([]byte, 0, 4*smallPart), p.Bytes...)}
	}
	s.queue = append(s.queue, p)
}

// ReceiveEnd takes the peer's end of a body that is offset bytes long. It returns why the stream must be reset, or 0.
func (s *Stream) ReceiveEnd(offset uint64, trailers []frame.Field) frame.Code {
	s.Lock()
	defer s.Unlock()
	switch {
	case s.Err != nil:
		return 0
	case s.Ended || offset != s.ReceivedLen:
		return frame.CodeLost
	}
	s.Ended, s.Trailers = true, trailers
	s.Wake()
	return 0
}

// Read waits for the next part of what comes in. It returns [io.EOF] after the last, and more is whether another part is
// there already. What came in before the stream failed is read first.
func (s *Stream) Read(l Limits) (p Part, more bool, err error) {
	s.Lock()
	defer s.Unlock()
	for len(s.queue) == 0 {
		switch {
		case s.Ended:
			return Part{}, false, io.EOF
		case s.Err != nil:
			return Part{}, false, s.Err
		}
		if err := s.Wait(l); err != nil {
			return Part{}, false, err
		}
	}
	p, s.queue[0] = s.queue[0], Part{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return p, len(s.queue) > 0 || s.Ended, nil
}

// Consumed says that n bytes that were read are not needed any more. It lets the peer send more when half of its window
// is used up. A reader that keeps up gets a larger window.
func (s *Stream) Consumed(n int) {
	if credit, ok := s.regrant(n); ok {
		s.Send(Control, &frame.Credit{Offset: credit})
	}
}

// ConsumedLen is how many bytes were consumed.
func (s *Stream) ConsumedLen() uint64 {
	s.Lock()
	defer s.Unlock()
	return s.consumed
}

func (s *Stream) regrant(n int) (uint64, bool) {
	s.Lock()
	defer s.Unlock()
	s.consumed += uint64(n)
	out := int64(s.granted - s.consumed)
	if s.Ended || !s.lent || out > s.window/2 {
		return 0, false
	}
	if len(s.queue) == 0 {
		s.window = min(2*s.window, windowMax)
	}
	s.held = s.Budget.extend(s.held, out, s.window)
	s.window = s.held
	s.granted = max(s.granted, s.consumed+uint64(s.held))
	return s.granted, true
}

// ReceiveCredit takes the peer's word for how much of a body may be sent, counted from its beginning. It never falls.
func (s *Stream) ReceiveCredit(credit uint64) {
	s.Lock()
	defer s.Unlock()
	if credit > s.credit {
		s.credit = credit
		s.Wake()
	}
}

// CanSend reports whether n bytes can be sent without waiting, or nothing can any more.
func (s *Stream) CanSend(n int) bool {
	s.Lock()
	defer s.Unlock()
	return s.sendErr() != nil || s.credit-s.sent >= uint64(n)
}

// AwaitCredit waits for the first credit, and sets touched, before the stream can fail, if there is some. It returns the
// same.
func (s *Stream) AwaitCredit(l Limits, touched *atomic.Bool) bool {
	s.Lock()
	defer s.Unlock()
	for s.sendErr() == nil && s.credit == 0 {
		if s.Wait(l) != nil {
			return false
		}
	}
	wanted := s.sendErr() == nil
	touched.Store(wanted)
	return wanted
}

// sendErr is why nothing can be sent. The lock is held.
func (s *Stream) sendErr() error { return cmp.Or(s.Err, s.SendErr) }

// reserve waits until there is credit, and takes it for n bytes at most.
func (s *Stream) reserve(n int, l Limits) (offset uint64, got int, err error) {
	s.Lock()
	defer s.Unlock()
	began := time.Time{}
	for s.sendErr() == nil && s.credit == s.sent {
		if began.IsZero() {
			began = time.Now()
		}
		if err := s.Wait(l); err != nil {
			return 0, 0, err
		}
	}
	if !began.IsZero() {
		s.Stats.CreditWait.Add(int64(time.Since(began)))
	}
	if err := s.sendErr(); err != nil {
		return 0, 0, err
	}
	got = int(min(uint64(n), s.credit-s.sent))
	offset = s.sent
	s.sent += uint64(got)
	return offset, got, nil
}

// Write sends buf[Room:] as fast as there is credit, and may write over buf. After the last, all was sent. It returns how
// many bytes were sent. One goroutine at a time may write.
func (s *Stream) Write(buf []byte, last bool, l Limits) (n int, err error) {
	at := Room
	for at < len(buf) {
		offset, got, err := s.reserve(min(len(buf)-at, s.chunk()), l)
		if err != nil {
			return at - Room, err
		}
		end := last && at+got == len(buf)
		var head [Room]byte
		h := frame.AppendDataHead(head[:0], offset, end)
		raw := buf[at-len(h) : at+got]
		copy(raw, h)
		if end {
			s.conclude()
		}
		if err := s.Post(Bulk, raw); err != nil {
			return at - Room, err
		}
		at += got
	}
	return at - Room, nil
}

// chunk is how much of a body one frame carries now.
func (s *Stream) chunk() int {
	if s.Near() {
		return nearChunkMax
	}
	return max(1, min(chunkMax, s.Transport.MaxFrame()-headRoom))
}

// Chunk returns memory for one Data frame of the stream, the bytes of which begin at [Room]. It is to be given to [Release].
func (s *Stream) Chunk() []byte {
	if s.Near() {
		return Buffer(Room + nearChunkMax)
	}
	return Buffer(Room + chunkMax)
}

// Near reports whether bodies go over a line.
func (s *Stream) Near() bool {
	s.Lock()
	defer s.Unlock()
	return s.line != nil
}

// Join lets bodies go over a line from now on, and reports whether that is possible: nothing was sent of one, there is no
// line yet, and the stream was not left.
func (s *Stream) Join(l Line) bool {
	s.Lock()
	defer s.Unlock()
	if s.line != nil || s.left || s.sent > 0 || s.done {
		return false
	}
	s.line = l
	return true
}

// Unjoin has bodies go over the transport again, and reports whether that is possible: nothing was sent of one. Later, no line
// is taken.
func (s *Stream) Unjoin() bool {
	s.Lock()
	defer s.Unlock()
	if s.sent > 0 || s.done {
		return false
	}
	s.line, s.left = nil, true
	return true
}

// Part gives up the line, if there is one, by the method that is called with it. Later, none is taken.
func (s *Stream) Part(by func(Line)) {
	s.Lock()
	defer s.Unlock()
	if s.line != nil && !s.left {
		by(s.line)
	}
	s.left = true
}

// Finish sends that all was sent, unless the last of it said so.
func (s *Stream) Finish(trailers []frame.Field) error {
	sent, said := s.conclude()
	if said {
		return nil
	}
	return s.Post(Bulk, frame.Append(nil, &frame.End{Offset: sent, Trailers: trailers}))
}

// conclude notes that all was sent. It returns how much that is, and whether it was noted before.
func (s *Stream) conclude() (sent uint64, before bool) {
	s.Lock()
	defer s.Unlock()
	before, s.done = s.done, true
	return s.sent, before
}

// Last returns the channel of what was sent last of a body, or Control: what is sent there does not overtake the body.
func (s *Stream) Last() Channel {
	s.Lock()
	defer s.Unlock()
	if s.sent == 0 && !s.done {
		return Control
	}
	return Bulk
}

// Send sends a frame that may get lost: a heartbeat repeats what it says, or shows that it is missing.
func (s *Stream) Send(by Channel, f frame.Frame) { _ = s.Post(by, frame.Append(nil, f)) }

// Post sends the bytes of a frame. An error says that this was not possible; the stream has failed then. While the peer
// is not known, nothing is sent.
func (s *Stream) Post(by Channel, raw []byte) error {
	s.Lock()
	peer, line := s.Peer, s.line
	s.Unlock()
	if peer.Process == "" {
		return nil
	}
	var err error
	if by == Bulk && line != nil {
		err = line.Send(raw)
	} else {
		err = s.Transport.Send(by, peer, s.Token, raw)
	}
	if err != nil {
		s.Fail(errors.Join(ErrLost, err))
	}
	s.Stats.Sent(raw)
	return err
}

// State is what a heartbeat tells the peer of the stream that it knows by the token.
func (s *Stream) State(token string) frame.State {
	s.Lock()
	defer s.Unlock()
	sent := s.sent
	if s.done {
		sent++ // The end counts as one byte more.
	}
	return frame.State{Token: token, Credit: s.granted, Sent: sent}
}

// ReceiveState takes what a heartbeat of the peer says. It reports whether something was certainly lost: nothing came in
// from one heartbeat to the next although the peer says that it had sent it.
func (s *Stream) ReceiveState(other frame.State) (lost bool) {
	s.ReceiveCredit(other.Credit)
	s.Lock()
	defer s.Unlock()
	missing := !s.Ended && (other.Gone || other.Sent > s.ReceivedLen)
	if !missing || s.stuck > 0 && s.seen != s.ReceivedLen {
		s.stuck = 0
	}
	if missing {
		s.stuck++
		s.seen = s.ReceivedLen
	}
	return s.stuck > 1
}

// Watch returns a channel that is closed at the next change, and whether the peer takes no more.
func (s *Stream) Watch() (changed <-chan struct{}, failed bool) {
	s.Lock()
	defer s.Unlock()
	return s.Changed(), s.sendErr() != nil
}
