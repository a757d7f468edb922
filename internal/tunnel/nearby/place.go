package nearby

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// maxToken is the length of the longest token in bytes. Beyond: there is no line.
	maxToken = 255

	// handshake is how long either side waits for the other's part of the handshake. Beyond: bodies go over NATS.
	handshake = time.Second
)

// sharingMark behind a token asks the gateway to share memory. A gateway that knows nothing of that has no such token.
const sharingMark = "!"

// accepted is a gateway's answer to a token that it expects.
const accepted = '+'

// Host is a gateway. Its methods may be called concurrently, and must not block.
type Host interface {
	// Meet is called when the worker of a stream has connected, and reports whether the stream accepts the line. Sending
	// on the line waits until Meet has returned.
	Meet(token string, line *Line) bool

	// ReceiveNearby receives a frame that arrived on the line of the stream, and keeps its memory.
	ReceiveNearby(token string, frame []byte)

	// Parted is called when no more frames will arrive on the line of the stream; used tells whether any frame has.
	Parted(token string, used bool)
}

// SharingHost is a [Host] whose streams can take parts from memory that both processes have. See [flow.Sharer].
type SharingHost interface {
	Host

	// ReceiveShared receives a frame without its bytes, and its bytes, which stay where they are until [Line.Free].
	ReceiveShared(token string, head, bytes []byte)
}

// Place is where a gateway waits for workers.
type Place struct {
	host      Host
	listener  *net.UnixListener
	lines     Lines
	accepting chan struct{} // closed when no more connections are accepted
}

// Open lets workers of this machine and user connect to the gateway by its name, which must be unique. Close must be
// called.
func Open(gateway string, host Host) (*Place, error) {
	at, err := address(gateway)
	if err != nil {
		return nil, err
	}
	sweep(filepath.Dir(at.Name))
	listener, err := net.ListenUnix("unix", at)
	if err != nil {
		return nil, err
	}
	p := &Place{host: host, listener: listener, accepting: make(chan struct{})}
	go p.accept()
	return p, nil
}

// Close ends all lines, and returns when none runs any more.
func (p *Place) Close() {
	_ = p.listener.Close() // It removes the socket.
	<-p.accepting
	p.lines.Close()
}

func (p *Place) accept() {
	defer close(p.accepting)
	for {
		conn, err := p.listener.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(10 * time.Millisecond) // Out of file descriptors; that passes.
		default:
			p.take(&Line{conn: conn})
		}
	}
}

// take serves a line, or closes it if there are too many.
func (p *Place) take(l *Line) {
	if _, err := p.lines.Go(func() (*Line, error) { return l, nil }, p.serve); err != nil {
		l.Close()
	}
}

func (p *Place) serve(l *Line) {
	token, err := l.heardToken()
	if err != nil {
		return
	}
	sharing, _ := p.host.(SharingHost)
	if sharing != nil {
		token, l.asks = strings.CutSuffix(token, sharingMark)
	}
	if !p.meet(token, l) {
		return
	}
	used := false
	defer func() { p.host.Parted(token, used) }()
	defer l.Close()
	take := func(frame []byte) {
		used = true
		p.host.ReceiveNearby(token, frame)
	}
	_ = l.receive(take, func(head, bytes []byte) { // Parted is called after any error.
		used = true
		sharing.ReceiveShared(token, head, bytes)
	})
}

// meet gives a stream its line, and tells the worker whether the stream accepted it, before anything that the stream
// sends.
func (p *Place) meet(token string, l *Line) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.host.Meet(token, l) {
		return false
	}
	if l.in == nil || l.give() != nil { // Without memory the line is an ordinary one.
		_, _ = l.conn.Write([]byte{accepted}) // If that fails, so does receiving.
	}
	return true
}

// Reach opens the line of a gateway's stream. It takes at most a second. An error means that there is no line, for
// example because the gateway is on another machine, or runs as another user.
func Reach(gateway, token string) (*Line, error) { return reach(gateway, token, false) }

func reach(gateway, token string, asks bool) (*Line, error) {
	at, err := address(gateway)
	if err != nil {
		return nil, err
	}
	if len(token) > maxToken {
		return nil, fmt.Errorf("nearby: token of %d bytes", len(token))
	}
	conn, err := net.DialUnix("unix", nil, at)
	if err != nil {
		return nil, err
	}
	l := &Line{conn: conn, asks: asks}
	if err := l.introduce(token); err != nil {
		l.end()
		return nil, err
	}
	return l, nil
}

// ReachSharing is Reach, and asks the gateway to share memory with this side. Parts of a body that are sent then lie
// there. A gateway that knows nothing of that, or cannot, gives an ordinary line. The line must be served by [Lines.Go],
// which gives the memory back.
func ReachSharing(gateway, token string) (*Line, error) {
	l, err := reach(gateway, token+sharingMark, true)
	if errors.Is(err, io.EOF) || len(token) == maxToken {
		return Reach(gateway, token)
	}
	return l, err
}

// address returns the address of a gateway's socket, in a folder that only this user can enter.
func address(gateway string) (*net.UnixAddr, error) {
	if gateway == "" || strings.ContainsFunc(gateway, func(r rune) bool { return !isLetter(r) }) {
		return nil, fmt.Errorf("nearby: %q does not name a gateway", gateway)
	}
	dir := filepath.Join(os.TempDir(), "modulebus-"+strconv.Itoa(os.Geteuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	return &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, gateway)}, nil
}

func isLetter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// youth is how old a socket must be before it is swept, because a gateway makes it before it listens.
const youth = time.Minute

// sweep removes the sockets of gateways that were killed, on which no process listens.
func sweep(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, "*")) // The pattern is valid.
	for _, name := range names {
		info, err := os.Lstat(name)
		if err != nil || time.Since(info.ModTime()) < youth {
			continue
		}
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: name})
		if err == nil {
			_ = conn.Close()
		} else if refused(err) {
			_ = os.Remove(name) // Another gateway may have been faster.
		}
	}
}
