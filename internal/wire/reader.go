package wire

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// reader reads a message without reflection, as this package writes it. It has it as bytes and as text, and what is read shares that memory.
type reader struct {
	data    []byte
	text    string
	at      int
	odd     bool // something is not as it would be written here
	unsound bool // a value may be no JSON
}

func newReader(data []byte) reader { return reader{data: bytes.Clone(data), text: string(data)} }

// count is of how many parts with a tag the data is made, each of that many bytes or more, if it is.
func count(data []byte, tag byte, least int) (n int, whole bool) {
	r := reader{data: data}
	for ; r.at < len(data) && !r.odd; n++ {
		end := r.open(tag, len(data))
		r.odd = r.odd || end-r.at < least
		r.at = end
	}
	return n, n > 0 && !r.odd
}

// open takes a tag and a length, and returns the end of what has that length. It is not behind the end of what this is in.
func (r *reader) open(tag byte, within int) (end int) {
	if r.odd || r.at >= within || r.data[r.at] != tag {
		r.odd = true
		return r.at
	}
	size, head := binary.Uvarint(r.data[r.at+1 : within])
	from := r.at + 1 + head
	if head <= 0 || size > uint64(within-from) {
		r.odd = true
		return r.at
	}
	r.at = from
	return from + int(size)
}

// close is for what was opened.
func (r *reader) close(end int) { r.odd = r.odd || r.at != end }

func (r *reader) string(tag byte, within int) string {
	end := r.open(tag, within)
	s := r.text[r.at:end]
	r.at = end
	r.odd = r.odd || !utf8.ValidString(s)
	return s
}

func (r *reader) bytes(tag byte, within int) []byte {
	end := r.open(tag, within)
	b := r.data[r.at:end:end]
	r.at = end
	return b
}

// next reports whether a tag comes next.
func (r *reader) next(tag byte, within int) bool {
	return !r.odd && r.at < within && r.data[r.at] == tag
}

// optional reads a text, if it comes next.
func (r *reader) optional(tag byte, within int) string {
	if !r.next(tag, within) {
		return ""
	}
	s := r.string(tag, within)
	r.odd = r.odd || s == "" // It would not have been written.
	return s
}
