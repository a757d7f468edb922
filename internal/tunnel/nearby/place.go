package nearby

import (
	"errors"
	"fmt"
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

	// handshake is how long either side waits for the other to say what it must. Beyond: bodies go over NATS.
	handshake = time.Second
)

// accepted is what a gateway answers a token with that it expected.
const accepted = '+'

// Host is a gateway. Its methods may be called concurrently, and must not block.
type Host interface {
	// Meet is told that the worker of the stream called token has come, and reports whether the stream takes the line. What
	// is sent on the line meanwhile waits until Meet has returned.
	Meet(token string, line *Line) bool

	// ReceiveNearby takes a frame that came on the line of the stream, and keeps its memory.
	ReceiveNearby(token string, frame []byte)

	// Parted is told that nothing more comes on the line of the stream, and whether any frame has.
	Parted(token string, used bool)
}

// Place is where a gateway waits for workers.
type Place struct {
	host      Host
	listener  *net.UnixListener
	lines     Lines
	accepting chan struct{} // closed when no more are
}

// Open lets workers of this machine and user find the gateway by its name, which must be unique. Close must be called.
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

// Close ends all lines, and returns when nothing of them runs any more.
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

// take serves a line, or closes it where there are too many.
func (p *Place) take(l *Line) {
	if _, err := p.lines.Go(func() (*Line, error) { return l, nil }, p.serve); err != nil {
		l.Close()
	}
}

func (p *Place) serve(l *Line) {
	token, err := l.heardToken()
	if err != nil || !p.meet(token, l) {
		return
	}
	used := false
	defer func() { p.host.Parted(token, used) }()
	_ = l.Receive(func(frame []byte) { // Parted says so, whatever it was.
		used = true
		p.host.ReceiveNearby(token, frame)
	})
}

// meet gives a stream its line, and tells the worker whether it took it. What the stream sends comes behind that.
func (p *Place) meet(token string, l *Line) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.host.Meet(token, l) {
		return false
	}
	_, _ = l.conn.Write([]byte{accepted}) // If that fails, so does receiving.
	return true
}

// Reach opens the line of the stream that a gateway calls token. It takes a second at most, and an error means that there
// is none, as where the gateway is on another machine, or another user's.
func Reach(gateway, token string) (*Line, error) {
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
	l := &Line{conn: conn}
	if err := l.introduce(token); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// address is where a gateway's socket is: in a folder that nobody but this user can enter.
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

// youth is how old a socket must be to be swept: a gateway makes it before it listens.
const youth = time.Minute

// sweep removes the sockets of gateways that were killed: nobody listens there.
func sweep(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, "*")) // The pattern is right.
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
