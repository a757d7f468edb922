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
	group    *remote // in whose heartbeats it is; nil while no worker is known
	closed   bool
	reached  bool // a worker was heard of
	left     bool // the client has closed its side
	infos    []*frame.Info
	response *frame.Response
	parts    []byte      // of a response that is larger than a frame
	pending  error       // what ends the stream when the response is there
	parting  *time.Timer // fires when nothing more may be under way; nil until the worker has left
	partedAt uint64      // ReceivedLen when parting was set
	headless bool        // at the last heartbeat, data had come in and the head had not
	frames   int
	progress atomic.Int64 // when the last part of the request was sent, in Unix nanoseconds
}

// maxInfos is how many informational responses may wait for the client. Beyond: they are dropped, since they only inform.
const maxInfos = 16

// newCall makes a stream for the attempt, which frames can reach from now on.
func newCall(g *Gateway, to webpath.Resource) (*call, error) {
	s := &call{g: g, to: to, Stream: flow.Stream{
		Transport: g.transport, Budget: &g.budget, Stats: &g.stats, Token: g.transport.Token(to),
	}}
	if _, ok := s.OpenCredit(); !ok {
		return nil, tooBusy()
	}
	g.stats.Open.Add(1)
	g.streams.Add(s.Token, s)
	return s, nil
}

// close forgets the stream. Frames that still come are answered with a reset.
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
	s.CloseCredit()
}

// receive takes a frame, and the memory that it was decoded from. It does not block.
func (s *call) receive(by flow.Channel, from flow.Address, f frame.Frame, raw []byte) {
	ours, tell := s.fromOurs(from)
	if !ours {
		return // Another worker's: only one has the request.
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

// clientLeft lets the handler know that the client has closed its side, as soon as it is known where the handler is.
func (s *call) clientLeft() {
	s.Lock()
	s.left = true
	s.Unlock()
	s.resetBehind(frame.CodeLeft)
}

// fromOurs takes note of the worker, and reports whether it is the one that has the request, and whether it is still to
// be told that the client left.
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

// assemble takes a part of a response.
func (s *call) assemble(p *frame.Part) {
	switch rsp, err := s.join(p); {
	case err != nil:
		s.lose(badReply(err))
	case rsp != nil:
		s.respond(rsp)
	}
}

// join returns the response when the part was the last of it.
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

// endBehind ends the stream behind what the worker sent before it said so on the channel. On Control that may have
// overtaken data, and on Bulk it may have overtaken the head: the stream ends when those are there. A head that never
// comes is a loss, which heartbeats show.
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

// leave says that the worker takes no more, and sends no more than what is under way. The lock is held.
func (s *call) leave(err error) {
	if s.SendErr != nil {
		return
	}
	s.SendErr, s.partedAt = err, s.ReceivedLen
	s.parting = time.AfterFunc(partingTime, s.part)
	s.Wake()
}

// part ends the stream of a worker that has left, unless data has come in since it was last looked at.
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

// heartbeat takes what the worker's heartbeat says of the stream, and reports whether something was certainly lost; a
// head, too, which is sent before the data that came in.
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

// at is where the worker is.
func (s *call) at() flow.Address {
	s.Lock()
	defer s.Unlock()
	return s.Peer
}

// lose ends the stream with an error.
func (s *call) lose(err error) { s.Fail(err) }

// unheard ends the stream because nobody is where the worker was. Before a worker was heard of, nobody got the request.
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

// reset tells the worker that the rest is not wanted.
func (s *call) reset(c frame.Code) { s.resetBy(flow.Control, c) }

// resetBehind is reset behind what was sent of the request's body, so that its handler gets all of that.
func (s *call) resetBehind(c frame.Code) { s.resetBy(s.Last(), c) }

func (s *call) resetBy(by flow.Channel, c frame.Code) {
	s.Stats.ResetsOut.Count(c)
	s.Send(by, frame.NewReset(c, c.String()))
}

// event is what a request waits for before its response.
type event struct {
	info     *frame.Info
	response *frame.Response
	reached  bool // for the first time
}

// event waits for the next event; met says that the worker was heard of before.
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

// fast reports whether one frame came in, and it was all.
func (s *call) fast() bool {
	s.Lock()
	defer s.Unlock()
	return s.frames == 1 && s.Ended
}

// lastSent is when the last part of the request was sent.
func (s *call) lastSent() time.Time { return time.Unix(0, s.progress.Load()) }
