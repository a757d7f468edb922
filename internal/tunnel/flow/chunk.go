package flow

import "github.com/modulebus/modulebus/internal/tunnel/frame"

const (
	// chunkMax is the bytes of a body in one Data frame: with its head it fits nats.go's read buffer. Beyond: a write is
	// sent as several frames.
	chunkMax = 32<<10 - 64

	// nearChunkMax is the bytes of a body in one Data frame on a line between processes of one machine. Beyond: a write is
	// sent as several frames.
	nearChunkMax = 256<<10 - 64

	// NearMin is the length in bytes from which on a body is worth a line. Below: it goes over the transport.
	NearMin = 256 << 10

	// SharedMin is the length in bytes from which on a response's body is worth shared memory. Below, and if its length is
	// not declared: it goes over the line.
	SharedMin = 2 << 20

	// inlineMax is the bytes of a body that goes in the same frame as its head. Beyond: it is streamed.
	inlineMax = 32 << 10

	// headRoom is the room in a frame for what a Data frame has besides its bytes.
	headRoom = 64
)

// Inline is the size of the largest body that is sent with its head, if frames have at most limit bytes.
func Inline(limit int) int { return max(0, min(inlineMax, limit/2)) }

// Room is the number of bytes before the data in a buffer for [Stream.Write].
const Room = frame.DataHeadSize
