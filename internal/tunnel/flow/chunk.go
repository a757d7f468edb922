package flow

import (
	"sync"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

const (
	// chunkMax is the bytes of a body in one Data frame: with its head it fits nats.go's read buffer. Beyond: a write is
	// sent as several frames.
	chunkMax = 32<<10 - 64

	// inlineMax is the bytes of a body that goes in the same frame as its head. Beyond: it is streamed.
	inlineMax = 32 << 10

	// headRoom is left in a frame for what a Data frame has besides its bytes.
	headRoom = 64
)

// Inline is the size of the largest body that goes with its head where frames have at most limit bytes.
func Inline(limit int) int { return max(0, min(inlineMax, limit/2)) }

// Chunk is memory for one Data frame, the bytes of which begin at [Room].
type Chunk [Room + chunkMax]byte

// Room is what a buffer that [Stream.Write] sends has before its bytes.
const Room = frame.MaxDataHead

var chunks = sync.Pool{New: func() any { return new(Chunk) }}

// NewChunk returns a chunk in reused memory, to be given to [Chunk.Release].
func NewChunk() *Chunk { return chunks.Get().(*Chunk) }

// Release takes the chunk's memory back. The caller must not use it afterwards.
func (c *Chunk) Release() { chunks.Put(c) }
