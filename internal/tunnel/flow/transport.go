package flow

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"time"
)

// ErrLost says that a frame was sent and no answer will come. The handler may have run.
var ErrLost = errors.New("tunnel: answer lost")

// Address is one end of a stream.
type Address struct {
	Process string // a gateway or a worker, as the transport names it; never empty
	Token   string // one of its streams
}

// Channel is a way to a peer. Frames on one channel keep their order; between channels there is none.
type Channel int

const (
	// Control carries all but bodies, so that bodies do not delay it.
	Control Channel = iota

	// Bulk carries bodies.
	Bulk
)

// Transport sends frames to peers. Its methods may be called concurrently. They block only for the time it takes to hand
// a frame over, and do not use it afterwards. An error says that nothing was sent.
type Transport interface {
	// Send sends to one end of a stream. The peer is told the sender's own token; the empty token is none. When no
	// process listens at to, the sender's Unheard is called with the token, unless it is empty.
	Send(by Channel, to Address, token string, frame []byte) error

	// MaxFrame is the size in bytes of the largest frame that can be sent now.
	MaxFrame() int

	// Near opens a line to one end of a stream, where that is on this machine and takes it, and gives take each frame that
	// comes in on it, with its memory. It calls parted when nothing more does. It returns nil where not. It waits a second at
	// most.
	Near(to Address, take func(frame []byte), parted func()) Line
}

// Line carries the bodies of one stream between two processes of one machine. What is sent for [Bulk] goes there instead of
// over the transport, in order. Its methods may be called concurrently.
type Line interface {
	// Send hands a frame over, and does not use it afterwards. An error says that the line is broken.
	Send(frame []byte) error

	// Leave says that nothing more is sent. What still comes in is taken until the other side leaves.
	Leave()

	// Close ends the line at once. It may be called again.
	Close()
}

// BeatEvery is how often a transport calls the Beat of its gateway or worker.
const BeatEvery = 500 * time.Millisecond

// ControlToken is the token of what is said between two processes rather than within a stream: Ping and Pong.
const ControlToken = "_ctl"

// TokenLen is how long a new token is, in bytes.
const TokenLen = 16

// NewToken returns the name of a stream, which nobody can guess: 96 random bits, in letters that a subject may have.
func NewToken() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // It never fails.
	return base64.RawURLEncoding.EncodeToString(b[:])
}
