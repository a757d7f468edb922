package wire

import (
	"encoding/binary"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// writer writes a message as package proto does, without reflection.
type writer struct {
	data []byte
	odd  bool // there is text that cannot be written
}

// open begins what has a tag and a length, which close must write.
func (w *writer) open(tag byte) (from int) {
	w.data = append(w.data, tag, 0)
	return len(w.data)
}

// close writes the length of what began there.
func (w *writer) close(from int) {
	size := len(w.data) - from
	const short = 0x80 // What is less takes one byte.
	if size < short {
		w.data[from-1] = byte(size)
		return
	}
	w.data = slices.Replace(w.data, from-1, from, binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64), uint64(size))...)
}

func (w *writer) string(tag byte, s string) {
	w.odd = w.odd || !utf8.ValidString(s)
	w.data = protowire.AppendString(append(w.data, tag), s)
}

func (w *writer) bytes(tag byte, b []byte) {
	w.data = protowire.AppendBytes(append(w.data, tag), b)
}

// optional writes a text, if there is one.
func (w *writer) optional(tag byte, s string) {
	if s != "" {
		w.string(tag, s)
	}
}
