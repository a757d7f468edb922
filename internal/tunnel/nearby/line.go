package nearby

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
)

const (
	// MaxFrame is the size in bytes of the largest frame on a line. Beyond: the line is closed, and its stream fails.
	MaxFrame = 1 << 20

	// patience is how long the other process may accept nothing, and how long a line that one side has left waits for the
	// other. Each side accepts frames at once, so a process that takes longer does not run.
	patience = 15 * time.Second

	// smallFrame is the size in bytes up to which a frame is moved at once. Beyond: where there are several lines, they take
	// turns.
	smallFrame = 16 << 10

	// pieceMax is how many bytes of a frame are moved at once where there are several lines. Beyond: another line has its
	// turn before the rest.
	pieceMax = 64 << 10
)

// Line carries the bodies of one stream, in order, as frames that follow their lengths. Its methods may be called
// concurrently, except Receive. It implements [flow.Line].
type Line struct {
	conn  *net.UnixConn
	among *Lines     // nil for a line by itself
	mu    sync.Mutex // held by the writer
	head  [4]byte
}

// Send implements [flow.Line]. If it fails, it closes the line: what follows half a frame would be read as its rest.
func (l *Line) Send(frame []byte) error {
	if len(frame) > MaxFrame {
		return fmt.Errorf("nearby: frame of %d bytes", len(frame))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.write(frame)
	if err != nil {
		l.Close()
	}
	return err
}

// write writes a frame's length and the frame. The lock is held.
func (l *Line) write(frame []byte) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(l.head[:], uint32(len(frame)))
	for head := l.head[:]; len(head)+len(frame) > 0; head = nil {
		n, err := l.writeSome(head, frame)
		if err != nil {
			return err
		}
		frame = frame[n:]
	}
	return nil
}

// inTurns reports whether the rest of a frame is moved in turns with other lines: those would keep all processors busy, and
// then small requests wait.
func (l *Line) inTurns(rest []byte) bool {
	return len(rest) > smallFrame && l.among != nil && l.among.several.Load()
}

// Receive calls take with each frame that arrives, and with its memory, until the other side has left or the line is
// closed. Then it closes the line. Only one goroutine may call it. take must not block.
func (l *Line) Receive(take func(frame []byte)) error {
	defer l.Close()
	for {
		frame, err := l.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		take(frame)
	}
}

// Next returns the next frame, and its memory: see [flow.Release]. [io.EOF] means that the other side has left. It
// blocks until a frame arrives, the other side has left, or the line is closed. Only one goroutine may call it, and not
// together with Receive.
func (l *Line) Next() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(l.conn, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxFrame {
		return nil, fmt.Errorf("nearby: frame of %d bytes announced", n)
	}
	frame := flow.Buffer(int(n))
	return frame, l.fill(frame)
}

// fill reads a frame.
func (l *Line) fill(frame []byte) error {
	for len(frame) > 0 {
		n, err := l.readSome(frame)
		if err != nil {
			return unexpected(err)
		}
		frame = frame[n:]
	}
	return nil
}

// unexpected is the error of a frame that breaks off.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Leave implements [flow.Line]. Sent frames still arrive at the other side. Frames are received until the other side
// leaves, for at most 15 seconds.
func (l *Line) Leave() {
	_ = l.conn.SetReadDeadline(time.Now().Add(patience)) // It fails only on a closed line.
	_ = l.conn.CloseWrite()                              // As above.
}

// Close ends the line at once. It may be called again.
func (l *Line) Close() { _ = l.conn.Close() }

// heardToken reads the first thing that a worker sends: the length of a token, and the token.
func (l *Line) heardToken() (string, error) {
	if err := l.conn.SetDeadline(time.Now().Add(handshake)); err != nil {
		return "", err
	}
	var said [1 + maxToken]byte
	if _, err := io.ReadFull(l.conn, said[:1]); err != nil {
		return "", err
	}
	token := said[1:min(1+int(said[0]), len(said))]
	if _, err := io.ReadFull(l.conn, token); err != nil {
		return "", err
	}
	return string(token), l.conn.SetDeadline(time.Time{})
}

// introduce sends the token, and waits until the gateway has accepted it.
func (l *Line) introduce(token string) error {
	if err := l.conn.SetDeadline(time.Now().Add(handshake)); err != nil {
		return err
	}
	if _, err := l.conn.Write(append([]byte{byte(len(token))}, token...)); err != nil {
		return err
	}
	answer := [1]byte{}
	if _, err := io.ReadFull(l.conn, answer[:]); err != nil {
		return err
	}
	if answer[0] != accepted {
		return fmt.Errorf("nearby: answered %#x", answer[0])
	}
	return l.conn.SetDeadline(time.Time{})
}
