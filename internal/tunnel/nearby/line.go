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

	// patience is how long the other process may take none of what it is sent, and how long a line that one side has left
	// waits for the other. Each takes frames at once; beyond it, the process does not run.
	patience = 15 * time.Second
)

// Line carries the bodies of one stream, in order, as frames behind their lengths. Its methods may be called concurrently,
// but for Receive. It implements [flow.Line].
type Line struct {
	conn *net.UnixConn
	mu   sync.Mutex // held by the writer
	head [4]byte
}

// Send implements [flow.Line]. It closes the line when it fails: what came behind half a frame would be taken for its rest.
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

// write writes a frame behind its length. The lock is held.
func (l *Line) write(frame []byte) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(l.head[:], uint32(len(frame)))
	_, err := (&net.Buffers{l.head[:], frame}).WriteTo(l.conn)
	return err
}

// Receive gives take each frame that comes in, and its memory, until the other side has left or the line is closed. It
// closes the line then. One goroutine may call it. What take does must not block.
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

// Next returns the frame that comes next, and its memory: see [flow.Release]. [io.EOF] says that the other side has left. It
// blocks until then, or until the line is closed. It is for one goroutine, and not beside Receive.
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
	_, err := io.ReadFull(l.conn, frame)
	return frame, err
}

// Leave implements [flow.Line]. What was sent arrives. What still comes in is received until the other side leaves, for
// 15 seconds at most.
func (l *Line) Leave() {
	_ = l.conn.SetReadDeadline(time.Now().Add(patience)) // It fails only on a closed line.
	_ = l.conn.CloseWrite()                              // As above.
}

// Close ends the line at once. It may be called again.
func (l *Line) Close() { _ = l.conn.Close() }

// heardToken reads what a worker says first: a token behind its length.
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

// introduce says the token, and waits until the gateway has taken it.
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
