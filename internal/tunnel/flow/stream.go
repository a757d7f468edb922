package flow

import (
	"cmp"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// Stream is the state that each end of a stream has: the parts that have arrived and are not read yet, how much may be
// sent, and how the stream ended. The methods whose names begin with Receive receive frames, and never block.
type Stream struct {
	Transport Transport // these five are set before use
	Budget    *Budget
	Stats     *Stats
	Token     string // this end's
	Shares    bool   // parts that are received may lie in shared memory, because nobody holds them after close

	Monitor             // guards what follows
	Peer        Address // where to send; empty while it is not known
	Err         error   // why the stream failed; the first reason stays
	SendErr     error   // why the peer accepts no more, although more from it may arrive
	ReceivedLen uint64  // bytes of the body that have arrived
	Ended       bool    // the peer has sent all
	Trailers    []frame.Field

	line     Line   // nil if bodies go over Transport
	left     bool   // no line is accepted any more
	shared   Sharer // of the memory in which parts may lie; nil if there is none
	room     int64  // the memory's size
	queue    []Part
	consumed uint64
	granted  uint64
	window   int64 // credit to grant beyond what is consumed
	held     int64 // credit taken from the budget
	lent     bool
	credit   uint64
	sent     uint64
	done     bool   // all was sent
	stuck    int    // heartbeats in a row after which something seems to be lost
	seen     uint64 // ReceivedLen at the first of them
}

// Fail ends the stream with an error, and reports false if it had ended already. Parts that have arrived can still be
// read.
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

// OpenCredit takes the first credit for the peer from the budget. Beyond [MaxStreams] there is none. If it is called
// again, it returns the credit that was granted.
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

// CloseCredit returns all credit to the budget.
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

// Discard drops the parts that are not read. The lock must be held.
func (s *Stream) Discard() { s.queue = nil }

// ReceiveData receives a part of the body. A last part is also the end, so that its reader learns of both together. The
// stream keeps raw, the memory that contains d. It returns the code with which the stream must be reset, or 0.
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

// smallPart is the size up to which parts are copied together. So the memory that is held is a small multiple of the
// credit, however small the peer's writes.
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

// ReceiveEnd receives the end of a body that is offset bytes long. It returns the code with which the stream must be
// reset, or 0.
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

// Read waits for the next part of the body. It returns [io.EOF] after the last one; more tells whether another part has
// already arrived. Parts that arrived before the stream failed are read first.
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

// Consumed tells that n bytes that were read are no longer needed. When half of the window is used up, the peer gets
// more credit. A reader that keeps up gets a larger window. A line that takes no credit ends its stream itself, once all
// that was sent on it has arrived; or it was given up, and the peer waits for credit elsewhere.
func (s *Stream) Consumed(n int) {
	credit, by, ok := s.regrant(n)
	if !ok {
		return
	}
	news := &frame.Credit{Offset: credit}
	if by == Control || s.pass(by, frame.Append(nil, news)) != nil {
		s.Send(Control, news)
	}
}

// ConsumedLen returns how many bytes were consumed.
func (s *Stream) ConsumedLen() uint64 {
	s.Lock()
	defer s.Unlock()
	return s.consumed
}

func (s *Stream) regrant(n int) (credit uint64, by Channel, ok bool) {
	s.Lock()
	defer s.Unlock()
	s.consumed += uint64(n)
	out := int64(s.granted - s.consumed)
	if s.Ended || !s.lent || out > s.window/2 {
		return 0, 0, false
	}
	most := int64(windowMax)
	if s.shared != nil {
		most = s.room
	}
	if s.shared != nil && s.line != nil {
		by = Bulk // The worker waits for it, and the line is faster.
	}
	if len(s.queue) == 0 {
		s.window = min(2*s.window, most)
	}
	s.held = s.Budget.extend(s.held, out, s.window)
	s.window = s.held
	s.granted = max(s.granted, s.consumed+uint64(s.held))
	return s.granted, by, true
}

// ReceiveCredit receives how many bytes of the body the peer accepts, counted from its beginning. The number never
// falls.
func (s *Stream) ReceiveCredit(credit uint64) {
	s.Lock()
	defer s.Unlock()
	if credit > s.credit {
		s.credit = credit
		s.Wake()
	}
}

// CanSend reports whether n bytes can be sent without waiting, or whether nothing can be sent any more.
func (s *Stream) CanSend(n int) bool {
	s.Lock()
	defer s.Unlock()
	return s.sendErr() != nil || s.credit-s.sent >= uint64(n)
}

// AwaitCredit waits for the first credit. If there is some, it sets touched, before the stream can fail. It reports
// whether there is some.
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

// sendErr returns why nothing can be sent. The lock is held.
func (s *Stream) sendErr() error { return cmp.Or(s.Err, s.SendErr) }

// reserve waits for credit, and takes it for at most n bytes.
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

// chunk is how many bytes of a body one frame carries now.
func (s *Stream) chunk() int {
	if s.Near() {
		return nearChunkMax
	}
	return max(1, min(chunkMax, s.Transport.MaxFrame()-headRoom))
}

// Chunk returns memory for one Data frame of the stream, whose data begins at [Room]. It must be given to [Release].
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

// Join makes bodies go over a line from now on. It reports false if that is not possible, because a body has begun,
// there is a line already, or the stream was left.
func (s *Stream) Join(l Line) bool {
	s.Lock()
	defer s.Unlock()
	if s.line != nil || s.left || s.sent > 0 || s.done {
		return false
	}
	s.line = l
	if m, ok := l.(Sharer); ok && s.Shares && s.ReceivedLen == 0 {
		if s.room = m.Share(); s.room > 0 {
			s.shared = m
		}
	}
	return true
}

// Free gives up the shared memory, if there is some. The stream must be left, and nobody may read parts of it afterwards.
func (s *Stream) Free() {
	s.Lock()
	defer s.Unlock()
	if s.shared != nil {
		s.shared.Free()
		s.shared = nil
	}
}

// Unjoin makes bodies go over the transport again. It reports false if that is not possible, because a body has begun.
// After it, no line is accepted.
func (s *Stream) Unjoin() bool {
	s.Lock()
	defer s.Unlock()
	if s.sent > 0 || s.done {
		return false
	}
	s.line, s.left = nil, true
	return true
}

// Part gives up the line, if there is one: it calls by with it. After it, no line is accepted.
func (s *Stream) Part(by func(Line)) {
	s.Lock()
	defer s.Unlock()
	if s.line != nil && !s.left {
		by(s.line)
	}
	s.left = true
}

// Finish sends the end of the body, unless its last part said so.
func (s *Stream) Finish(trailers []frame.Field) error {
	sent, said := s.conclude()
	if said {
		return nil
	}
	return s.Post(Bulk, frame.Append(nil, &frame.End{Offset: sent, Trailers: trailers}))
}

// conclude notes that the whole body is sent. It returns its length, and whether that was noted before.
func (s *Stream) conclude() (sent uint64, before bool) {
	s.Lock()
	defer s.Unlock()
	before, s.done = s.done, true
	return s.sent, before
}

// Last returns the channel on which the body was sent, or Control if none was: a frame on it does not overtake the
// body.
func (s *Stream) Last() Channel {
	s.Lock()
	defer s.Unlock()
	if s.sent == 0 && !s.done {
		return Control
	}
	return Bulk
}

// Send sends a frame that may be lost: a heartbeat repeats its content, or shows that it is missing.
func (s *Stream) Send(by Channel, f frame.Frame) { _ = s.Post(by, frame.Append(nil, f)) }

// Post sends the bytes of a frame. If that is not possible, it returns an error, and the stream has failed. While the
// peer is not known, nothing is sent.
func (s *Stream) Post(by Channel, raw []byte) error {
	err := s.pass(by, raw)
	if err != nil {
		s.Fail(errors.Join(ErrLost, err))
	}
	return err
}

// pass sends the bytes of a frame, if the peer is known.
func (s *Stream) pass(by Channel, raw []byte) (err error) {
	s.Lock()
	peer, line := s.Peer, s.line
	s.Unlock()
	if peer.Process == "" {
		return nil
	}
	if by == Bulk && line != nil {
		err = line.Send(raw)
	} else {
		err = s.Transport.Send(by, peer, s.Token, raw)
	}
	s.Stats.Sent(raw)
	return err
}

// State returns what a heartbeat tells the peer of the stream; token is the peer's.
func (s *Stream) State(token string) frame.State {
	s.Lock()
	defer s.Unlock()
	sent := s.sent
	if s.done {
		sent++ // The end counts as one byte more.
	}
	return frame.State{Token: token, Credit: s.granted, Sent: sent}
}

// ReceiveState receives the content of the peer's heartbeat. It reports whether something was certainly lost: nothing
// arrived from one heartbeat to the next although the peer says that it has sent it.
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

// Watch returns a channel that is closed at the next change, and whether nothing can be sent any more.
func (s *Stream) Watch() (changed <-chan struct{}, failed bool) {
	s.Lock()
	defer s.Unlock()
	return s.Changed(), s.sendErr() != nil
}
