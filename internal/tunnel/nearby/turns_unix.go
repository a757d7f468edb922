//go:build unix

package nearby

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// readSome reads some of what is left of a frame, in a turn where there are several lines.
func (l *Line) readSome(rest []byte) (int, error) {
	if !l.inTurns(rest) {
		return l.conn.Read(rest)
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	n, err := l.among.move(raw.Read, syscall.Read, rest[:min(pieceMax, len(rest))])
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// writeSome writes a head and some of what is left of a frame, in a turn where there are several lines. It returns how much of rest it wrote.
func (l *Line) writeSome(head, rest []byte) (int, error) {
	if !l.inTurns(rest) {
		n, err := (&net.Buffers{head, rest}).WriteTo(l.conn)
		return int(n) - len(head), err
	}
	if len(head) > 0 {
		if _, err := l.conn.Write(head); err != nil {
			return 0, err
		}
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	return l.among.move(raw.Write, syscall.Write, rest[:min(pieceMax, len(rest))])
}

// move moves a piece by a system call that does not wait. The turn is over before it waits for the other side.
func (s *Lines) move(try func(func(uintptr) bool) error, call func(int, []byte) (int, error), piece []byte) (n int, err error) {
	failed := try(func(fd uintptr) bool {
		taken := s.take()
		defer func() { <-taken }()
		n, err = call(int(fd), piece)
		for errors.Is(err, syscall.EINTR) {
			n, err = call(int(fd), piece)
		}
		return !errors.Is(err, syscall.EAGAIN)
	})
	if failed != nil {
		return 0, failed
	}
	return max(0, n), err
}
