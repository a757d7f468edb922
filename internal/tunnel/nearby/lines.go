package nearby

import (
	"errors"
	"sync"
	"sync/atomic"
)

// maxLines is how many lines a process has at once. Beyond: bodies go over NATS.
const maxLines = 256

// Lines are the lines of one process. The zero value has none. Its methods may be called concurrently.
type Lines struct {
	mu      sync.Mutex
	all     map[*Line]bool
	opening int // lines that are being opened, and are not in all yet
	closed  bool
	running sync.WaitGroup
	several atomic.Bool // there are at least two
	shared  int         // memories that lines have made
	turns
}

// errFull is the error when there are already as many lines as allowed, or when Close was called.
var errFull = errors.New("nearby: no more lines")

// Go calls serve with the line that open returns, on a new goroutine, and closes the line when serve returns. If there
// are 256 lines already, or Close was called, it fails without opening one.
func (s *Lines) Go(open func() (*Line, error), serve func(*Line)) (*Line, error) {
	if !s.reserve() {
		return nil, errFull
	}
	l, err := open()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening--
	if err != nil {
		return nil, err
	}
	if s.closed {
		l.end()
		return nil, errFull
	}
	s.start(l, serve)
	return l, nil
}

func (s *Lines) reserve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.all)+s.opening >= maxLines {
		return false
	}
	s.opening++
	return true
}

// start serves a line. The lock is held.
func (s *Lines) start(l *Line, serve func(*Line)) {
	if s.all == nil {
		s.all = map[*Line]bool{}
	}
	s.all[l] = true
	l.among = s
	if len(s.all) > 1 {
		s.count()
		s.several.Store(true)
	}
	s.running.Go(func() {
		defer s.forget(l)
		serve(l)
	})
}

func (s *Lines) forget(l *Line) {
	l.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, l)
	s.several.Store(len(s.all) > 1)
}

// Close closes all lines, and returns when all calls of serve have returned.
func (s *Lines) Close() {
	s.mu.Lock()
	s.closed = true
	for l := range s.all {
		l.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	s.network.close()
}

// lend reports whether a line may make memory.
func (s *Lines) lend() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared >= maxMemories {
		return false
	}
	s.shared++
	return true
}

// takeBack is called when memory is given back to the system.
func (s *Lines) takeBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared--
}
