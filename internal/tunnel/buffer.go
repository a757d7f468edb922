package tunnel

import (
	"math/bits"
	"sync"
)

// Sizes of the memory that is used again, as powers of two. What is smaller is not worth it.
const (
	leastBuffer = 14
	mostBuffer  = 20
)

var buffers [mostBuffer + 1]sync.Pool // by size; of *[]byte

// Buffer returns memory for a frame of n bytes that is going to [Gateway.Receive] or [Worker.Receive]. It is used again
// when the frame was read, so that a long body leaves no garbage of its own length.
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

// release takes back what nobody reads any more. Memory that is not from Buffer may be given, too.
func release(b []byte) {
	size := bits.Len(uint(cap(b))) - 1
	if size < leastBuffer || size > mostBuffer || cap(b) != 1<<size {
		return
	}
	buffers[size].Put(&b)
}

// part is a piece of a body.
type part struct {
	bytes []byte
	frame []byte // which bytes are in; released after them
}

// cut returns what is left behind the first n bytes, and releases the frame when nothing is.
func (p part) cut(n int) part {
	p.bytes = p.bytes[n:]
	if len(p.bytes) > 0 {
		return p
	}
	release(p.frame)
	return part{}
}
