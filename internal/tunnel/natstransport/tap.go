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

// receiver receives a message. It does not block.
type receiver = func(subject, reply string, payload []byte)

// tapped changes the options so that a connection made with them passes its messages to take.
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

// SkipTLSHandshake tells the client library whether the dialer makes TLS connections itself.
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

// readSize is how much is read at once before it is known what it is. The rest of a message is read directly into its
// own memory.
const readSize = 16 << 10

// tap is a connection to NATS whose messages do not go through the client library, which allocates memory for each, so
// that a long body would leave garbage of its own length. Messages with headers, and everything that is no message, go
// to the library. As soon as something is not the protocol in clear text (as with TLS), everything goes to the library.
type tap struct {
	net.Conn
	take    receiver
	room    []byte
	in      []byte // the part of room that is read and not passed on
	passes  int    // how many of the next bytes are for the library
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

// some reads from in, or else from the connection.
func (t *tap) some(p []byte) (n int, err error) {
	if len(t.in) == 0 {
		return t.Conn.Read(p)
	}
	n = copy(p, t.in)
	t.in = t.in[n:]
	return n, nil
}

// step reads one message, or finds out how many bytes are for the library.
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

// op returns the operation of a protocol line.
func op(line []byte, words [][]byte) string {
	if len(words) == 0 || !bytes.HasPrefix(line, words[0]) {
		return ""
	}
	return string(words[0])
}

// line returns the next line, with its end; or what has been read, if that does not begin a line of the protocol.
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

// fill reads more, after what is in in.
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

// message reads a message.
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

// address sets subject and reply, and keeps the strings of the last message if they are the same.
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
