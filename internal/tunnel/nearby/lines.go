package nearby

import "sync"

// maxLines is how many lines a process has at once. Beyond: bodies go over NATS.
const maxLines = 256

// Lines are those of one process. The zero value has none. Its methods may be called concurrently.
type Lines struct {
	mu      sync.Mutex
	all     map[*Line]bool
	closed  bool
	running sync.WaitGroup
}

// Go calls serve with the line on a goroutine of its own, and closes the line when it returns. It closes the line at once,
// and reports false, where there are 256 already or Close was called.
func (s *Lines) Go(l *Line, serve func(*Line)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.all) >= maxLines {
		l.Close()
		return false
	}
	if s.all == nil {
		s.all = map[*Line]bool{}
	}
	s.all[l] = true
	s.running.Go(func() {
		defer s.forget(l)
		serve(l)
	})
	return true
}

func (s *Lines) forget(l *Line) {
	l.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, l)
}

// Close closes all lines, and returns when none is served any more.
func (s *Lines) Close() {
	s.mu.Lock()
	s.closed = true
	for l := range s.all {
		l.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}
