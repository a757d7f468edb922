package flow

import (
	"math/bits"
	"sync"
)

// Sizes of the memory that is reused, as powers of two. Smaller and larger frames are left to the garbage collector.
const (
	leastBuffer = 14
	mostBuffer  = 20 // the size of a buffer that is reused, as a power of two. Beyond: it is left to the garbage collector.
)

var buffers [mostBuffer + 1]sync.Pool // by size; of *[]byte

// Buffer returns memory for a frame of n bytes that a gateway or a worker receives. The memory is reused after the
// frame is read, so that a long body does not leave as much garbage.
func Buffer(n int) []byte {
	size := bits.Len(uint(max(n-1, 0)))
	if size < leastBuffer || size > mostBuffer {
		return make([]byte, n)
	}
	if b, ok := buffers[size].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, 1<<size)
}

// Release takes back memory that is no longer read. The memory need not be from Buffer.
func Release(b []byte) {
	size := bits.Len(uint(cap(b))) - 1
	if size < leastBuffer || size > mostBuffer || cap(b) != 1<<size {
		return
	}
	buffers[size].Put(&b)
}

// Part is a piece of a body.
type Part struct {
	Bytes []byte
	frame []byte // the memory that contains Bytes; released after them
}

// Cut returns the part without its first n bytes, and releases the memory if nothing is left.
func (p Part) Cut(n int) Part {
	p.Bytes = p.Bytes[n:]
	if len(p.Bytes) > 0 {
		return p
	}
	Release(p.frame)
	return Part{}
}

// Kept returns the part with memory that is never reused, because a caller may still hold Bytes.
func (p Part) Kept() Part { return Part{Bytes: p.Bytes} }
