package tunnel

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// call is the gateway's side of one attempt to get a response.
type call struct {
	stream
	g        *Gateway
	to       Destination
	group    *peer // in whose heartbeats it is; nil while no worker is known
	closed   bool
	reached  bool // a worker was heard of
	infos    []*Info
	response *Response
	broken   error // what ends the stream when the response is there
	headless bool  // at the last heartbeat, data had come in and the head had not
	frames   int
	progress atomic.Int64 // when the last part of the request was sent, in Unix nanoseconds
}

// maxInfos is how many informational responses may wait for the client.
const maxInfos = 16

// newCall makes a stream for the attempt, which frames can reach from now on.
func (g *Gateway) newCall(to Destination) (*call, error) {
	s := &call{g: g, to: to, stream: stream{
		line: g.carrier, budget: &g.budget, stats: &g.stats, token: newToken(),
	}}
	if _, ok := s.lend(); !ok {
		return nil, tooBusy()
	}
	g.stats.Open.Add(1)
	g.streams.add(s.token, s)
	return s, nil
}

// close forgets the stream. Frames that still come are answered with a reset.
func (s *call) close() {
	s.g.streams.remove(s.token)
	s.g.stats.Open.Add(-1)
	s.mu.Lock()
	s.closed, s.queue = true, nil
	group, at := s.group, s.peer
	s.mu.Unlock()
	s.g.peers.drop(group, at.Token)
	s.settle()
}

// take takes a frame, and what it was decoded from. It does not block.
func (s *call) take(from Address, f Frame, frame []byte) {
	if !s.meet(from) {
		return // Another worker's: only one has the request.
	}
	var wrong Code
	switch f := f.(type) {
	case *Response:
		s.respond(f)
	case *Info:
		s.inform(f)
	case *Accept:
		s.grant(f.Credit)
	case *Credit:
		s.grant(f.Offset)
	case *Data:
		wrong = s.push(f, frame)
	case *End:
		wrong = s.end(f.Offset, f.Trailers)
	case *Reset:
		count(&s.stats.ResetsIn, f.Code)
		s.breakOff(resetFailure(f))
	default:
		s.lose(badReply(fmt.Errorf("a %T", f)))
	}
	if wrong != 0 {
		s.reset(wrong)
		s.lose(lostFrames(wrong))
	}
}

// meet takes note of the worker.
func (s *call) meet(from Address) (ours bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.frames++
	if !s.reached {
		s.reached = true
		s.wake()
	}
	switch {
	case from.Token == "" || s.peer == from:
		return true
	case s.peer.Process != "":
		return false
	}
	s.peer = from
	s.group = s.g.peers.add(from, s)
	return true
}

func (s *call) respond(f *Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.response == nil && s.err == nil {
		s.response = f
		s.ended = s.ended || !f.More
		s.err = s.broken
		s.wake()
	}
}

// breakOff ends the stream behind what the worker sent. Where data is there and the head is not, the reset has overtaken
// that with the data, on the other channel; a head that never comes is a loss that heartbeats bring to light.
func (s *call) breakOff(err error) {
	s.mu.Lock()
	overtook := s.response == nil && s.received > 0
	if overtook {
		s.broken = err
	}
	s.mu.Unlock()
	if !overtook {
		s.lose(err)
	}
}

// compare takes in what a heartbeat of the worker tells, and reports whether something was lost for sure; a head, too, which
// is sent before the data that came in.
func (s *call) compare(other State) (lost bool) {
	lost = s.stream.compare(other)
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.headless
	s.headless = s.response == nil && (s.received > 0 || s.ended)
	return lost || before && s.headless
}

func (s *call) inform(f *Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.infos) < maxInfos && s.response == nil {
		s.infos = append(s.infos, f)
		s.wake()
	}
}

// at is where the worker is.
func (s *call) at() Address {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer
}

// lose ends the stream with an error.
func (s *call) lose(err error) { s.fail(err) }

// unheard ends the stream: before a worker was heard of, nobody got the request.
func (s *call) unheard() {
	s.mu.Lock()
	reached := s.reached
	s.mu.Unlock()
	if reached {
		s.lose(ErrLost)
		return
	}
	s.lose(ErrAbsent)
}

// reset tells the worker that the rest is not wanted.
func (s *call) reset(c Code) {
	count(&s.stats.ResetsOut, c)
	s.send(Control, reset(c, c.String()))
}

// event is what a request waits for before its response.
type event struct {
	info     *Info
	response *Response
	reached  bool // for the first time
}

// event waits for the next event; met says that the worker was heard of before.
func (s *call) event(l limits, met bool) (e event, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case len(s.infos) > 0:
			e.info, s.infos = s.infos[0], s.infos[1:]
			return e, nil
		case s.response != nil:
			return event{response: s.response}, nil
		case s.err != nil:
			return e, s.err
		}
		if s.reached && !met {
			return event{reached: true}, nil
		}
		if err := s.wait(l); err != nil {
			return e, err
		}
	}
}

// fast reports whether one frame came in, and it was all.
func (s *call) fast() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frames == 1 && s.ended
}

// lastSent is when the last part of the request was sent.
func (s *call) lastSent() time.Time { return time.Unix(0, s.progress.Load()) }

// untouched reports whether an error says that no handler has begun.
func untouched(err error) bool {
	var f *failure
	return errors.Is(err, ErrAbsent) || errors.As(err, &f) && f.retry
}
