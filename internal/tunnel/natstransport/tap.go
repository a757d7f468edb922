package natstransport

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
)

// receiver takes a message. It does not block.
type receiver = func(subject, reply string, payload []byte)

// tapped lets connections made with the options give their messages to take.
func tapped(o *nats.Options, take receiver) {
	if o.InProcessServer != nil {
		o.InProcessServer = home{o.InProcessServer, take}
		return
	}
	d := dialer{o.CustomDialer, take}
	if d.CustomDialer == nil {
		d.CustomDialer = o.Dialer
	}
	o.CustomDialer = d
}

type home struct {
	nats.InProcessConnProvider
	take receiver
}

// InProcessConn implements [nats.InProcessConnProvider].
func (h home) InProcessConn() (net.Conn, error) {
	return tapOf(h.take)(h.InProcessConnProvider.InProcessConn())
}

type dialer struct {
	nats.CustomDialer
	take receiver
}

// Dial implements [nats.CustomDialer].
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return tapOf(d.take)(d.CustomDialer.Dial(network, address))
}

// SkipTLSHandshake is what the client library asks a dialer that may make TLS connections itself.
func (d dialer) SkipTLSHandshake() bool {
	s, ok := d.CustomDialer.(interface{ SkipTLSHandshake() bool })
	return ok && s.SkipTLSHandshake()
}

func tapOf(take receiver) func(net.Conn, error) (net.Conn, error) {
	return func(c net.Conn, err error) (net.Conn, error) {
		if err != nil {
			return nil, err
		}
		return &tap{Conn: c, take: take, room: make([]byte, readSize)}, nil
	}
}

// readSize is how much is read before it is known what it is; what follows of a message goes where it belongs.
const readSize = 16 << 10

// tap is a connection to NATS whose messages are taken before the client library gets them: it makes memory for each,
// so that a long body leaves garbage of its own length. Messages with headers pass, as does all that is no message; and
// from when something comes that is not the protocol in clear text (as with TLS), everything passes.
type tap struct {
	net.Conn
	take    receiver
	room    []byte
	in      []byte // of room: what was read, and is not handed on
	passes  int    // how much of what comes next is the library's
	subject string // of the last message: most are like it
	reply   string
}

// Read implements [net.Conn].
func (t *tap) Read(p []byte) (int, error) {
	for t.passes == 0 {
		if err := t.step(); err != nil {
			return 0, err
		}
	}
	n, err := t.some(p[:min(len(p), t.passes)])
	t.passes -= n
	return n, err
}

// some reads from what is there, or else from the connection.
func (t *tap) some(p []byte) (n int, err error) {
	if len(t.in) == 0 {
		return t.Conn.Read(p)
	}
	n = copy(p, t.in)
	t.in = t.in[n:]
	return n, nil
}

// step takes one message, or finds out how much is the library's.
func (t *tap) step() error {
	line, err := t.line()
	if err != nil {
		return err
	}
	words := bytes.Fields(line)
	switch op(line, words) {
	case "MSG":
		return t.message(len(line), words[1:])
	case "HMSG":
		t.pass(len(line), words[1:])
	case "PING", "PONG", "INFO", "+OK", "-ERR":
		t.passes = len(line)
	default:
		t.passes = math.MaxInt
	}
	return nil
}

// op is what a line is about.
func op(line []byte, words [][]byte) string {
	if len(words) == 0 || !bytes.HasPrefix(line, words[0]) {
		return ""
	}
	return string(words[0])
}

// line returns the next line, with its end; or what is there, if that is not the beginning of a line of the protocol.
func (t *tap) line() ([]byte, error) {
	for seen := 0; ; {
		if len(t.in) > 0 && strings.IndexByte("HIMP+-", t.in[0]) < 0 {
			return t.in, nil
		}
		if end := bytes.IndexByte(t.in[seen:], '\n'); end >= 0 {
			return t.in[:seen+end+1], nil
		}
		if seen = len(t.in); seen == len(t.room) {
			return t.in, nil
		}
		if err := t.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more behind what is there.
func (t *tap) fill() error {
	have := copy(t.room, t.in)
	n, err := t.Conn.Read(t.room[have:])
	t.in = t.room[:have+n]
	if n > 0 {
		return nil
	}
	return err
}

// pass lets a message with headers through.
func (t *tap) pass(line int, words [][]byte) {
	size, ok := sizeOf(words)
	if !ok {
		t.passes = math.MaxInt // The library says what is wrong.
		return
	}
	t.passes = line + size + len("\r\n")
}

// message takes a message.
func (t *tap) message(line int, words [][]byte) error {
	size, ok := sizeOf(words)
	if !ok || len(words) > 4 {
		t.passes = math.MaxInt // As above.
		return nil
	}
	reply := []byte(nil)
	if len(words) == 4 {
		reply = words[2]
	}
	t.address(words[0], reply)
	t.in = t.in[line:]
	return t.payload(size)
}

// maxSize is the bytes of a message of NATS, more than any server lets pass. Beyond: the connection has failed.
const maxSize = 64 << 20

// sizeOf reads the last of the words behind MSG or HMSG: subject, subscription, reply if there is one, size of the
// headers if there are any, and size.
func sizeOf(words [][]byte) (size int, ok bool) {
	if len(words) < 3 {
		return 0, false
	}
	size, err := strconv.Atoi(string(words[len(words)-1]))
	return size, err == nil && size >= 0 && size <= maxSize
}

// address keeps strings that do not change.
func (t *tap) address(subject, reply []byte) {
	if string(subject) != t.subject {
		t.subject = string(subject)
	}
	if string(reply) != t.reply {
		t.reply = string(reply)
	}
}

var errOutOfStep = errors.New("natstransport: a message does not end where it should")

func (t *tap) payload(size int) error {
	b := flow.Buffer(size + len("\r\n"))
	n := copy(b, t.in)
	t.in = t.in[n:]
	if _, err := io.ReadFull(t.Conn, b[n:]); err != nil {
		return err
	}
	if !bytes.HasSuffix(b, []byte("\r\n")) {
		return errOutOfStep
	}
	t.take(t.subject, t.reply, b[:size])
	return nil
}
