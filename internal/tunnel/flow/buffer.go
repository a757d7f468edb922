package flow

import (
	"math/bits"
	"sync"
)

// Sizes of the memory that is reused, as powers of two. Smaller and larger frames are left to the garbage collector.
const (
	leastBuffer = 14
	mostBuffer  = 20 // the size of memory that is reused, as a power of two. Beyond: the garbage collector has it.
)

var buffers [mostBuffer + 1]sync.Pool // by size; of *[]byte

// Buffer returns memory for a frame of n bytes that a gateway or a worker is going to receive. It is reused when the
// frame was read, so that a long body leaves no garbage of its own length.
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

// Release takes back memory that nobody reads any more. Memory that is not from Buffer may be given, too.
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
	frame []byte // that holds Bytes; released after them
}

// Cut returns what is left behind the first n bytes, and releases the part's memory when nothing is left.
func (p Part) Cut(n int) Part {
	p.Bytes = p.Bytes[n:]
	if len(p.Bytes) > 0 {
		return p
	}
	Release(p.frame)
	return Part{}
}

// Kept returns the part with memory that is never reused, because somebody may still hold Bytes.
func (p Part) Kept() Part { return Part{Bytes: p.Bytes} }
