package flow

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"time"
)

// ErrLost is the error of a request whose answer will not come. The handler may have run.
var ErrLost = errors.New("tunnel: answer lost")

// Address is one end of a stream.
type Address struct {
	Process string // the transport's name of a gateway or a worker; never empty
	Token   string // one of its streams
}

// Channel is one of the ways to a peer. Frames keep their order on one channel, but not between channels.
type Channel int

const (
	// Control carries everything but bodies, so that bodies do not delay it.
	Control Channel = iota

	// Bulk carries bodies.
	Bulk
)

// Transport sends frames to peers. Its methods may be called concurrently. They block only while they copy or pass on a
// frame, and do not use it afterwards. If one fails, nothing was sent.
type Transport interface {
	// Send sends to one end of a stream. The peer is told the sender's own token; the empty token is none. When no
	// process listens at to, the sender's Unheard is called with the token, unless it is empty.
	Send(by Channel, to Address, token string, frame []byte) error

	// MaxFrame is the size in bytes of the largest frame that can be sent now.
	MaxFrame() int

	// Near opens a line to one end of a stream, if that end is on this machine and accepts it; otherwise it returns nil.
	// It calls take with each frame that arrives on the line, and with its memory, and parted when no more will. It waits
	// for at most a second.
	Near(to Address, take func(frame []byte), parted func()) Line
}

// Line carries the bodies of one stream between two processes of one machine, in order. Frames for [Bulk] go over it
// instead of over the transport. Its methods may be called concurrently.
type Line interface {
	// Send sends a frame, and does not use it afterwards. An error means that the line is broken.
	Send(frame []byte) error

	// Leave tells the other side that nothing more is sent. Frames are still received until the other side leaves.
	Leave()

	// Close ends the line at once. It may be called again.
	Close()
}

// Sharing is a [Transport] that can share memory.
type Sharing interface {
	Transport

	// NearSharing is Near, and asks the other end to share memory, in which large parts of bodies that are sent there lie.
	NearSharing(to Address, take func(frame []byte), parted func()) Line
}

// Sharer is a [Line] on which large parts of bodies may arrive in memory that both processes have. Byte o of a body lies
// at o modulo the memory's size, so no more than that may be under way. See docs/adr/0062-large-responses-lie-in-shared-memory.md.
type Sharer interface {
	Line

	// Share makes the memory if the other side has asked for it, and returns its size in bytes; 0 if there is none.
	Share() int64

	// Free tells that nothing in the memory is read any more. It is called once, if Share has returned a size.
	Free()
}

// BeatEvery is how often a transport calls the Beat of its gateway or worker.
const BeatEvery = 500 * time.Millisecond

// ControlToken is the token of what is said between two processes rather than within a stream: Ping and Pong.
const ControlToken = "_ctl"

// TokenLen is how long a new token is, in bytes.
const TokenLen = 16

// NewToken returns a name for a stream that cannot be guessed: 96 random bits, in letters that a subject may have.
func NewToken() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // It never fails.
	return base64.RawURLEncoding.EncodeToString(b[:])
}
