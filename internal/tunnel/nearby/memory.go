package nearby

import "sync/atomic"

const (
	// memorySize is how many bytes the memory of a line has. It fits a processor's own cache. Beyond: the worker waits until
	// the client has taken some.
	memorySize = 1 << 20

	// maxMemories is how many lines of a process share memory at once. Beyond: parts go through the socket.
	maxMemories = 16
)

// memory is what a gateway shares with a worker, for a body on its way to the client. The gateway makes it, and can only
// read it; nothing in it is believed but that the bytes are the module's. Byte o of the body lies at o modulo the size.
// The gateway never grants more than the size beyond what the client has taken, so the worker overwrites nothing as long
// as it keeps to its credit.
type memory struct {
	bytes []byte
	file  int          // the gateway's, until nobody can take memory away any more; -1 after that
	users atomic.Int32 // the line, and at the gateway the stream
	freed func()       // called when there is none; nil for nothing
}

// at returns the place of a part of the body. It reports false if the memory has no such place.
func (m *memory) at(offset uint64, n int) (place []byte, ok bool) {
	start := int(offset % uint64(len(m.bytes)))
	if n <= 0 || n > len(m.bytes)-start {
		return nil, false
	}
	return m.bytes[start : start+n : start+n], true
}

// room returns the place for as many of the bytes at an offset as lie side by side.
func (m *memory) room(offset uint64, n int) []byte {
	place, _ := m.at(offset, min(n, len(m.bytes)-int(offset%uint64(len(m.bytes)))))
	return place
}

// drop is called by each user that has finished with the memory.
func (m *memory) drop() {
	if m == nil || m.users.Add(-1) > 0 {
		return
	}
	m.unmap()
	if m.freed != nil {
		m.freed()
	}
}
