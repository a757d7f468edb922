package gateway

import (
	"slices"
	"sync"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// listEvery is how often a heartbeat lists the streams. Those in between only find out whether the worker is there.
const listEvery = 5 * time.Second

// workers are the workers of all streams.
type workers struct {
	mu   sync.Mutex
	byID map[string]*remote
}

// remote is one worker.
type remote struct {
	process string
	streams map[string]*call // by the worker's token
	listed  time.Time
	heard   time.Time
}

func newWorkers() *workers { return &workers{byID: map[string]*remote{}} }

func (w *workers) add(at flow.Address, s *call) *remote {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := w.byID[at.Process]
	if one == nil {
		now := time.Now()
		one = &remote{process: at.Process, streams: map[string]*call{}, listed: now, heard: now}
		w.byID[at.Process] = one
	}
	one.streams[at.Token] = s
	return one
}

func (w *workers) drop(one *remote, token string) {
	if one == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if delete(one.streams, token); len(one.streams) == 0 && w.byID[one.process] == one {
		delete(w.byID, one.process)
	}
}

// unheard ends all streams of a worker that has left.
func (w *workers) unheard(process string) {
	for _, s := range w.of(process) {
		s.unheard()
	}
}

func (w *workers) of(process string) (streams []*call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.byID[process]; one != nil {
		for _, s := range one.streams {
			streams = append(streams, s)
		}
	}
	return streams
}

// beat asks each worker whether it is there, sometimes with a list of its streams, and gives up workers that have been
// silent for too long.
func (w *workers) beat(now time.Time, line flow.Transport, silence time.Duration) {
	for _, process := range w.silent(now, silence) {
		for _, s := range w.of(process) {
			s.lose(flow.ErrLost)
		}
	}
	for process, list := range w.due(now) {
		to := flow.Address{Process: process, Token: flow.ControlToken}
		if !list {
			_ = line.Send(flow.Control, to, flow.ControlToken, frame.Append(nil, &frame.Ping{})) // If it fails, the next one does.
			continue
		}
		for _, states := range w.states(process) {
			_ = line.Send(flow.Control, to, flow.ControlToken, frame.Append(nil, &frame.Ping{Answer: true, States: states})) // As above.
		}
	}
}

func (w *workers) silent(now time.Time, silence time.Duration) (processes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for process, one := range w.byID {
		if now.Sub(one.heard) > silence {
			processes = append(processes, process)
		}
	}
	return processes
}

// due returns all workers, and whether it is time to list their streams.
func (w *workers) due(now time.Time) map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make(map[string]bool, len(w.byID))
	for process, one := range w.byID {
		list := now.Sub(one.listed) >= listEvery
		if all[process] = list; list {
			one.listed = now
		}
	}
	return all
}

// states returns the states of a worker's streams, in parts that fit a frame.
func (w *workers) states(process string) (parts [][]frame.State) {
	all := w.of(process)
	for part := range slices.Chunk(all, frame.MaxStates) {
		states := make([]frame.State, 0, len(part))
		for _, s := range part {
			states = append(states, s.State(s.at().Token))
		}
		parts = append(parts, states)
	}
	return parts
}

// answered handles what a worker says of its streams.
func (w *workers) answered(from flow.Address, pong *frame.Pong) {
	for _, other := range pong.States {
		if s := w.heard(from.Process, other.Token); s != nil && s.heartbeat(other) {
			s.reset(frame.CodeLost)
			s.lose(lostFrames(frame.CodeLost))
		}
	}
}

// heard notes that the worker is alive, and finds a stream of it.
func (w *workers) heard(process, token string) *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := w.byID[process]
	if one == nil {
		return nil
	}
	one.heard = time.Now()
	return one.streams[token]
}
