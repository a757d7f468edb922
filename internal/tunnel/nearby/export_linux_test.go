package nearby

import (
	"testing"

	"golang.org/x/sys/unix"
)

// OnAKernelWithoutSeals is for tests that are alone: there are none of the seals that keep memory's pages.
func OnAKernelWithoutSeals(t *testing.T) {
	before := kept
	kept = 1 << 20
	t.Cleanup(func() { kept = before })
}

// CannotGive closes the file of a line's memory, so that it cannot be sent.
func (l *Line) CannotGive() {
	_ = unix.Close(l.in.file)
	l.in.file = -1
}

// HasMemory reports whether parts that are sent may lie in memory.
func (l *Line) HasMemory() bool { return l.out != nil }
