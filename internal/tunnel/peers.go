package tunnel

import (
	"slices"
	"sync"
	"time"
)

// listEvery is how often a heartbeat lists the streams; in between it only finds out whether anybody is there.
const listEvery = 5 * time.Second

// peers are the workers of the streams there are.
type peers struct {
	mu   sync.Mutex
	byID map[string]*peer
}

// peer is one worker.
type peer struct {
	process string
	streams map[string]*call // by the worker's token
	listed  time.Time
	heard   time.Time
}

func newPeers() *peers { return &peers{byID: map[string]*peer{}} }

func (p *peers) add(at Address, s *call) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.byID[at.Process]
	if one == nil {
		now := time.Now()
		one = &peer{process: at.Process, streams: map[string]*call{}, listed: now, heard: now}
		p.byID[at.Process] = one
	}
	one.streams[at.Token] = s
	return one
}

func (p *peers) drop(one *peer, token string) {
	if one == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if delete(one.streams, token); len(one.streams) == 0 && p.byID[one.process] == one {
		delete(p.byID, one.process)
	}
}

// gone ends all streams of a worker.
func (p *peers) gone(process string, why error) {
	for _, s := range p.of(process) {
		s.lose(why)
	}
}

func (p *peers) of(process string) (streams []*call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one := p.byID[process]; one != nil {
		for _, s := range one.streams {
			streams = append(streams, s)
		}
	}
	return streams
}

// beat asks each worker whether it is there, tells it of its streams from time to time, and gives up on those that were
// not heard of for too long.
func (p *peers) beat(now time.Time, line Line, silence time.Duration) {
	for _, process := range p.silent(now, silence) {
		p.gone(process, ErrLost)
	}
	for process, list := range p.due(now) {
		to := Address{process, Peers}
		if !list {
			_ = line.Send(Control, to, Peers, Append(nil, &Ping{})) // The next one will do.
			continue
		}
		for _, states := range p.states(process) {
			_ = line.Send(Control, to, Peers, Append(nil, &Ping{Answer: true, States: states})) // As above.
		}
	}
}

func (p *peers) silent(now time.Time, silence time.Duration) (processes []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for process, one := range p.byID {
		if now.Sub(one.heard) > silence {
			processes = append(processes, process)
		}
	}
	return processes
}

// due returns all workers, and whether it is time to list their streams.
func (p *peers) due(now time.Time) map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]bool, len(p.byID))
	for process, one := range p.byID {
		list := now.Sub(one.listed) >= listEvery
		if all[process] = list; list {
			one.listed = now
		}
	}
	return all
}

// states are the streams of a worker, in parts that fit a frame.
func (p *peers) states(process string) (parts [][]State) {
	all := p.of(process)
	for part := range slices.Chunk(all, MaxStates) {
		states := make([]State, 0, len(part))
		for _, s := range part {
			states = append(states, s.state(s.at().Token))
		}
		parts = append(parts, states)
	}
	return parts
}

// answered takes in what a worker says of its streams.
func (p *peers) answered(from Address, pong *Pong) {
	for _, other := range pong.States {
		if s := p.heard(from.Process, other.Token); s != nil && s.compare(other) {
			s.reset(CodeLost)
			s.lose(lostFrames(CodeLost))
		}
	}
}

// heard takes note that the worker is alive, and finds a stream of it.
func (p *peers) heard(process, token string) *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.byID[process]
	if one == nil {
		return nil
	}
	one.heard = time.Now()
	return one.streams[token]
}
