package testbed

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// Transcript is what a process wrote.
type Transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed when something was written
}

// NewTranscript returns an empty one, for a process that is started elsewhere.
func NewTranscript() *Transcript { return &Transcript{more: make(chan struct{})} }

// Write implements [io.Writer].
func (s *Transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	close(s.more)
	s.more = make(chan struct{})
	return len(p), nil
}

func (s *Transcript) read() (text []byte, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.text.Bytes()), s.more
}

// Bytes is all that was written so far.
func (s *Transcript) Bytes() []byte {
	text, _ := s.read()
	return text
}

// String is all that was written so far.
func (s *Transcript) String() string { return string(s.Bytes()) }

// end is the last that was written.
func (s *Transcript) end() []byte {
	const most = 8 << 10
	text := s.Bytes()
	return text[max(0, len(text)-most):]
}

// Line returns a whole line that has all the words, once there is one.
func (s *Transcript) Line(t *testing.T, words ...string) string {
	t.Helper()
	late := time.After(Patience)
	for {
		text, more := s.read()
		if line, ok := lineWith(text, words); ok {
			return line
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("no line has all of %q", words)
		}
	}
}

func lineWith(text []byte, words []string) (string, bool) {
	r := bufio.NewReader(bytes.NewReader(text))
	for {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return "", false
		}
		has := true
		for _, word := range words {
			has = has && strings.Contains(line, word)
		}
		if has {
			return strings.TrimSuffix(line, "\n"), true
		}
	}
}

// Lines returns the lines that have all the words.
func (s *Transcript) Lines(words ...string) (found []string) {
	for line := range strings.Lines(string(s.Bytes())) {
		if line, ok := lineWith([]byte(line), words); ok {
			found = append(found, line)
		}
	}
	return found
}

// Count is how many lines have all the words.
func (s *Transcript) Count(words ...string) int { return len(s.Lines(words...)) }
