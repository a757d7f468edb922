package tunnel

import (
	"crypto/rand"
	"encoding/base64"
)

// Destination is a web resource that a module serves.
type Destination struct{ Module, Resource string }

// Address is one end of a stream.
type Address struct {
	Process string // a gateway or a worker, as the line names it; never empty
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

// Line sends frames to peers. Its methods may be called concurrently. They do not block but for the time it takes to
// hand a frame over, and do not use it afterwards. An error says that nothing was sent.
type Line interface {
	// Ask sends a request to any one worker of a destination. What comes back is for the stream called token.
	Ask(to Destination, token string, frame []byte) error

	// Send sends to one end of a stream. The peer is told the sender's own token; empty is none. When nobody is at to,
	// [Gateway.Unheard] or [Worker.Unheard] is told, if token is not empty.
	Send(by Channel, to Address, token string, frame []byte) error

	// MaxFrame is the size in bytes of the largest frame that can be sent now.
	MaxFrame() int
}

// Peers is the token of what is said between two processes rather than within a stream: [Ping] and [Pong].
const Peers = "_ctl"

// newToken returns the name of a stream, which nobody can guess: 96 random bits, in letters a subject may have.
func newToken() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // It never fails.
	return base64.RawURLEncoding.EncodeToString(b[:])
}

const (
	chunk     = 32<<10 - 64 // of a body, in one frame: with its head it fits nats.go's read buffer
	inlineMax = 32 << 10    // of a body, in the same frame as the head
)

// chunkOf is how much of a body a frame of at most limit bytes carries.
func chunkOf(limit int) int { return max(1, min(chunk, limit-64)) }

// inlineOf is how much of a body goes with a head.
func inlineOf(limit int) int { return max(0, min(inlineMax, limit/2)) }
