package gateway

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/webpath"
)

// call is the gateway's side of one attempt to get a response.
type call struct {
	flow.Stream
	g        *Gateway
	to       webpath.Resource
	group    *remote // the worker whose heartbeats list it; nil while no worker is known
	closed   bool
	reached  bool // a worker has accepted the request
	left     bool // the client has closed its side
	infos    []*frame.Info
	response *frame.Response
	parts    []byte      // of a response that is larger than a frame
	pending  error       // ends the stream when the response has arrived
	parting  *time.Timer // fires when nothing more should be under way; nil until the worker has left
	partedAt uint64      // ReceivedLen when parting was set
	headless bool        // at the last heartbeat, data had arrived and the head had not
	frames   int
	progress atomic.Int64 // when the last part of the request was sent, in Unix nanoseconds
}

// maxInfos is how many informational responses may wait for the client. Beyond: they are dropped, since they only inform.
const maxInfos = 16

// newCall makes a stream for the attempt. Frames can reach it from now on. shares tells that no write to the client holds
// what it was given after it has returned, also if it failed.
func newCall(g *Gateway, to webpath.Resource, shares bool) (*call, error) {
	s := &call{g: g, to: to, Stream: flow.Stream{
		Transport: g.transport, Budget: &g.budget, Stats: &g.stats, Token: g.transport.Token(to), Shares: shares,
	}}
	if _, ok := s.OpenCredit(); !ok {
		return nil, tooBusy()
	}
	g.stats.Open.Add(1)
	g.streams.Add(s.Token, s)
	return s, nil
}

// close forgets the stream. Later frames are answered with a reset.
func (s *call) close() {
	s.g.streams.Remove(s.Token)
	s.g.stats.Open.Add(-1)
	s.Lock()
	s.closed = true
	s.Discard()
	group, at := s.group, s.Peer
	if s.parting != nil {
		s.parting.Stop()
	}
	s.Unlock()
	s.g.workers.drop(group, at.Token)
	s.Part(flow.Line.Close)
	s.Free()
	s.CloseCredit()
}

// receive receives a frame, and keeps the memory that it was decoded from. It does not block.
func (s *call) receive(by flow.Channel, from flow.Address, f frame.Frame, raw []byte) {
	ours, tell := s.fromOurs(from)
	if !ours {
		return // It is from another worker: only one has the request.
	}
	if tell {
		s.clientLeft()
	}
	var wrong frame.Code
	switch f := f.(type) {
	case *frame.Response:
		s.respond(f)
	case *frame.Part:
		s.assemble(f)
	case *frame.Info:
		s.inform(f)
	case *frame.Accept:
		s.ReceiveCredit(f.Credit)
	case *frame.Credit:
		s.ReceiveCredit(f.Offset)
	case *frame.Data:
		wrong = s.ReceiveData(f, raw)
	case *frame.End:
		wrong = s.ReceiveEnd(f.Offset, f.Trailers)
	case *frame.Reset:
		s.Stats.ResetsIn.Count(f.Code)
		s.endBehind(by, resetFailure(f))
	default:
		s.lose(badReply(fmt.Errorf("a %T", f)))
	}
	if wrong != 0 {
		s.reset(wrong)
		s.lose(lostFrames(wrong))
	}
}

// clientLeft tells the handler that the client has closed its side, as soon as it is known where the handler is.
func (s *call) clientLeft() {
	s.Lock()
	s.left = true
	s.Unlock()
	s.resetBehind(frame.CodeLeft)
}

// fromOurs notes the sender of a frame. It reports whether that is the worker that has the request, and whether the
// worker must still be told that the client left.
func (s *call) fromOurs(from flow.Address) (ours, tell bool) {
	s.Lock()
	defer s.Unlock()
	if s.closed {
		return false, false
	}
	s.frames++
	if !s.reached {
		s.reached = true
		s.Wake()
	}
	switch {
	case from.Token == "" || s.Peer == from:
		return true, false
	case s.Peer.Process != "":
		return false, false
	}
	s.Peer = from
	s.group = s.g.workers.add(from, s)
	return true, s.left
}

func (s *call) respond(f *frame.Response) {
	s.Lock()
	defer s.Unlock()
	if s.response == nil && s.Err == nil {
		s.response = f
		s.Ended = s.Ended || !f.More
		s.Err = s.pending
		s.Wake()
	}
}

// assemble receives a part of a response.
func (s *call) assemble(p *frame.Part) {
	switch rsp, err := s.join(p); {
	case err != nil:
		s.lose(badReply(err))
	case rsp != nil:
		s.respond(rsp)
	}
}

// join adds a part, and returns the response if it is complete.
func (s *call) join(p *frame.Part) (*frame.Response, error) {
	s.Lock()
	defer s.Unlock()
	switch {
	case s.response != nil:
		return nil, errors.New("a part behind the response")
	case p.Offset != uint64(len(s.parts)) || len(s.parts)+len(p.Bytes) > frame.MaxHead:
		return nil, fmt.Errorf("a part of %d bytes at %d, behind %d", len(p.Bytes), p.Offset, len(s.parts))
	}
	if s.parts = append(s.parts, p.Bytes...); !p.Last {
		return nil, nil //nolint:nilnil // There is no response yet, and nothing is wrong.
	}
	f, err := frame.Decode(s.parts)
	s.parts = nil
	rsp, ok := f.(*frame.Response)
	if err == nil && !ok {
		err = fmt.Errorf("parts of a %T", f)
	}
	return rsp, err
}

// endBehind ends the stream after everything that the worker sent before the frame that ends it. On Control that frame
// may have overtaken data, and on Bulk it may have overtaken the head: the stream ends when those have arrived. A head
// that never arrives is a loss, which heartbeats show.
func (s *call) endBehind(by flow.Channel, err error) {
	s.Lock()
	headless := s.response == nil && (s.ReceivedLen > 0 || by == flow.Bulk)
	left := s.response != nil && by == flow.Control && !s.Ended && s.Err == nil
	if headless && s.pending == nil { // The first reason stays.
		s.pending = err
	}
	if left {
		s.leave(err)
	}
	s.Unlock()
	if !headless && !left {
		s.lose(err)
	}
}

// partingTime is how long after the last of its data a worker that has left may still have some under way. Beyond it,
// the response is cut.
const partingTime = 250 * time.Millisecond

// leave notes that the worker accepts no more, and that only what is under way will still arrive. The lock is held.
func (s *call) leave(err error) {
	if s.SendErr != nil {
		return
	}
	s.SendErr, s.partedAt = err, s.ReceivedLen
	s.parting = time.AfterFunc(partingTime, s.part)
	s.Wake()
}

// part ends the stream of a worker that has left, unless data has arrived since the last look.
func (s *call) part() {
	s.Lock()
	defer s.Unlock()
	switch {
	case s.closed || s.Err != nil || s.Ended:
		return
	case s.ReceivedLen != s.partedAt:
		s.partedAt = s.ReceivedLen
		s.parting.Reset(partingTime)
		return
	}
	s.Err = s.SendErr
	s.Wake()
}

// heartbeat receives what the worker's heartbeat says of the stream, and reports whether something was certainly lost.
// That includes the head, if data that was sent after it has arrived.
func (s *call) heartbeat(other frame.State) (lost bool) {
	lost = s.ReceiveState(other)
	s.Lock()
	defer s.Unlock()
	before := s.headless
	s.headless = s.response == nil && (s.ReceivedLen > 0 || s.Ended || s.pending != nil)
	return lost || before && s.headless
}

func (s *call) inform(f *frame.Info) {
	s.Lock()
	defer s.Unlock()
	if len(s.infos) < maxInfos && s.response == nil {
		s.infos = append(s.infos, f)
		s.Wake()
	}
}

// at returns the worker's address.
func (s *call) at() flow.Address {
	s.Lock()
	defer s.Unlock()
	return s.Peer
}

// lose ends the stream with an error.
func (s *call) lose(err error) { s.Fail(err) }

// unheard ends the stream because the worker is gone. If no worker has accepted the request, none received it.
func (s *call) unheard() {
	s.Lock()
	reached, began := s.reached, s.response != nil
	s.Unlock()
	switch {
	case began:
		s.endBehind(flow.Control, flow.ErrLost)
	case reached:
		s.lose(flow.ErrLost)
	default:
		s.lose(ErrAbsent)
	}
}

// reset tells the worker that the rest of the response is not wanted.
func (s *call) reset(c frame.Code) { s.resetBy(flow.Control, c) }

// resetBehind is reset, but does not overtake the request's body, so that the handler gets all that was sent of it.
func (s *call) resetBehind(c frame.Code) { s.resetBy(s.Last(), c) }

func (s *call) resetBy(by flow.Channel, c frame.Code) {
	s.Stats.ResetsOut.Count(c)
	s.Send(by, frame.NewReset(c, c.String()))
}

// event is something that happens before the response is complete.
type event struct {
	info     *frame.Info
	response *frame.Response
	reached  bool // a worker has accepted the request, for the first time
}

// event waits for the next event. met tells that a worker has accepted the request before.
func (s *call) event(l flow.Limits, met bool) (e event, err error) {
	s.Lock()
	defer s.Unlock()
	for {
		switch {
		case len(s.infos) > 0:
			e.info, s.infos = s.infos[0], s.infos[1:]
			return e, nil
		case s.response != nil:
			return event{response: s.response}, nil
		case s.Err != nil:
			return e, s.Err
		}
		if s.reached && !met {
			return event{reached: true}, nil
		}
		if err := s.Wait(l); err != nil {
			return e, err
		}
	}
}

// fast reports whether the response was a single frame.
func (s *call) fast() bool {
	s.Lock()
	defer s.Unlock()
	return s.frames == 1 && s.Ended
}

// lastSent returns when the last part of the request was sent.
func (s *call) lastSent() time.Time { return time.Unix(0, s.progress.Load()) }
