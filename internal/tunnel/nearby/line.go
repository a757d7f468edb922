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
	"github.com/modulebus/modulebus/internal/tunnel/frame"
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

	// laidMax is how many bytes are laid into memory before the gateway is told. Beyond: it is told several times.
	laidMax = 128 << 10

	// laid marks the length of a frame whose bytes lie in the memory. How many they are follows, and then the frame.
	laid = 1 << 31

	// noteRoom is the room for what is sent of such a frame.
	noteRoom = 4 + 4 + frame.DataHeadSize
)

// Line carries the bodies of one stream, in order, as frames that follow their lengths. Its methods may be called
// concurrently, except Receive. It implements [flow.Line].
type Line struct {
	conn  *net.UnixConn
	among *Lines     // nil for a line by itself
	mu    sync.Mutex // held by the writer
	head  [4]byte
	asks  bool           // the worker asks to share memory; set before the handshake, and before Meet
	in    *memory        // in which parts arrive; nil if there is none; set in Meet
	out   *memory        // in which parts are laid; nil if there is none; guarded by mu
	note  [noteRoom]byte // guarded by mu
	heard [noteRoom]byte // of who receives
}

// Send implements [flow.Line]. If it fails, it closes the line: what follows half a frame would be read as its rest. But
// where the other side has closed it, all that it sent before is still received.
func (l *Line) Send(frame []byte) error {
	if len(frame) > MaxFrame {
		return fmt.Errorf("nearby: frame of %d bytes", len(frame))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.send(frame)
	if err != nil && !gone(err) {
		l.Close()
	}
	return err
}

// send lays a large part of a body into shared memory if there is some. All else it writes, and so it does where there are
// several lines: those take turns.
func (l *Line) send(raw []byte) error {
	if l.out != nil && len(raw) > smallFrame && !l.inTurns(raw) {
		if offset, last, bytes, ok := frame.DataHead(raw); ok {
			return l.lay(offset, last, bytes)
		}
	}
	return l.write(raw)
}

// write writes a frame's length and the frame. The lock is held.
func (l *Line) write(frame []byte) error {
	if err := l.limit(); err != nil {
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

// limit is how long the other side may accept nothing from now on.
func (l *Line) limit() error { return l.conn.SetWriteDeadline(time.Now().Add(patience)) }

// inTurns reports whether the rest of a frame is moved in turns with other lines: those would keep all processors busy, and
// then small requests wait.
func (l *Line) inTurns(rest []byte) bool {
	return len(rest) > smallFrame && l.among != nil && l.among.several.Load()
}

// Receive calls take with each frame that arrives, and with its memory, until the other side has left or the line is
// closed. Then it closes the line. Only one goroutine may call it. take must not block.
func (l *Line) Receive(take func(frame []byte)) error {
	defer l.Close()
	return l.receive(take, nil)
}

// receive is Receive, and calls takeShared with each part that lies in shared memory, and the head of its frame.
func (l *Line) receive(take func(frame []byte), takeShared func(head, bytes []byte)) error {
	for {
		frame, shared, err := l.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case shared != nil:
			takeShared(frame, shared)
		default:
			take(frame)
		}
	}
}

// Next returns the next frame, and its memory: see [flow.Release]. [io.EOF] means that the other side has left. It
// blocks until a frame arrives, the other side has left, or the line is closed. Only one goroutine may call it, and not
// together with Receive.
func (l *Line) Next() ([]byte, error) {
	frame, _, err := l.next()
	return frame, err
}

// next returns the next frame, or the head of a frame, and its bytes in shared memory.
func (l *Line) next() (frame, shared []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(l.conn, head[:]); err != nil {
		return nil, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if l.in != nil && n&laid != 0 {
		return l.noted(int(n &^ laid))
	}
	if n > MaxFrame {
		return nil, nil, fmt.Errorf("nearby: frame of %d bytes announced", n)
	}
	frame = flow.Buffer(int(n))
	return frame, nil, l.fill(frame)
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
	hear := l.answer
	if l.asks {
		hear = l.given
	}
	answer, err := hear()
	if err != nil {
		return err
	}
	if answer != accepted {
		return fmt.Errorf("nearby: answered %#x", answer)
	}
	return l.conn.SetDeadline(time.Time{})
}

// answer reads the gateway's answer to a worker that does not ask to share memory.
func (l *Line) answer() (byte, error) {
	answer := [1]byte{}
	_, err := io.ReadFull(l.conn, answer[:])
	return answer[0], err
}

// Share implements [flow.Sharer].
func (l *Line) Share() int64 {
	if !l.asks || !l.among.lend() {
		return 0
	}
	m, err := newMemory()
	if err != nil {
		l.among.takeBack()
		return 0
	}
	m.freed = l.among.takeBack
	m.users.Store(2)
	l.in = m
	return int64(len(m.bytes))
}

// Free implements [flow.Sharer].
func (l *Line) Free() { l.in.drop() }

// end closes the line for good: nobody receives on it any more.
func (l *Line) end() {
	l.Close()
	l.in.drop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.drop()
	l.out = nil
}

// lay copies a part of a body into the memory, and tells the gateway. The lock is held.
func (l *Line) lay(offset uint64, last bool, bytes []byte) error {
	for len(bytes) > 0 {
		n := copy(l.out.room(offset, min(len(bytes), laidMax)), bytes)
		bytes = bytes[n:]
		if err := l.tell(offset, n, last && len(bytes) == 0); err != nil {
			return err
		}
		offset += uint64(n)
	}
	return nil
}

// tell sends a frame whose n bytes lie in the memory.
func (l *Line) tell(offset uint64, n int, last bool) error {
	if err := l.limit(); err != nil {
		return err
	}
	note := frame.AppendDataHead(l.note[:8], offset, last)
	binary.BigEndian.PutUint32(note, laid|uint32(len(note)-8))
	binary.BigEndian.PutUint32(note[4:], uint32(n))
	_, err := l.conn.Write(note)
	return err
}

// noted reads what is sent of a frame whose bytes lie in the memory, and finds them. The frame is of the given size without them.
func (l *Line) noted(size int) (head, bytes []byte, err error) {
	if size > frame.DataHeadSize {
		return nil, nil, fmt.Errorf("nearby: head of %d bytes announced", size)
	}
	note := l.heard[:4+size]
	if _, err := io.ReadFull(l.conn, note); err != nil {
		return nil, nil, unexpected(err)
	}
	n, head := binary.BigEndian.Uint32(note), note[4:]
	offset, _, rest, ok := frame.DataHead(head)
	if !ok || len(rest) > 0 {
		return nil, nil, fmt.Errorf("nearby: %x has bytes in the memory", head)
	}
	if bytes, ok = l.in.at(offset, int(n)); !ok {
		return nil, nil, fmt.Errorf("nearby: %d bytes at %d do not lie in the memory", n, offset)
	}
	return head, bytes, l.in.fix()
}
