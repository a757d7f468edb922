package frame

import (
	"math"
	"time"
)

// Decode reads one frame, which must be all of b. Errors match [ErrMalformed].
//
// A frame that decodes is the frame that [Append] writes, byte for byte: there is one spelling for each message. Field
// names are in canonical form ("Content-Type"), and values hold no CR, LF or NUL. The body of the result shares memory
// with b; the strings do not. No more is allocated than a small multiple of len(b).
func Decode(b []byte) (Frame, error) {
	if len(b) < 2 {
		return nil, malformed("shorter than a prelude")
	}
	if b[0]>>4 != version {
		return nil, malformed("version %d", b[0]>>4)
	}
	kind, flags := b[0]&15, b[1]
	if flags&^allowed[kind] != 0 || flags&required[kind] != required[kind] {
		return nil, malformed("type %d with flags %#x", kind, flags)
	}
	f, err := decodeType(kind, flags, b[2:])
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Flags that each type may have, and must have.
var (
	allowed = [16]byte{
		typeRequest: flagFin | flagUpgrade | flagHTTP2, typeResponse: flagFin | flagUpgrade,
		typeData: flagFin, typePart: flagFin, typeEnd: flagFin, typePing: flagFin, typeReset: flagFin | flagRetryable,
	}
	required = [16]byte{typeEnd: flagFin, typeReset: flagFin}
)

func decodeType(kind, flags byte, b []byte) (Frame, error) {
	switch kind {
	case typeRequest:
		return decodeRequest(flags, b)
	case typeResponse:
		return decodeResponse(flags, b)
	case typeData:
		offset, bytes, err := decodePiece(b)
		return &Data{flags&flagFin != 0, offset, bytes}, err
	case typePart:
		offset, bytes, err := decodePiece(b)
		return &Part{flags&flagFin != 0, offset, bytes}, err
	}
	d := newDecoder(b)
	f := d.control(kind, flags)
	return f, d.end()
}

func decodeRequest(flags byte, b []byte) (Frame, error) {
	d, body := splitBody(b)
	r := &Request{
		More:          flags&flagFin == 0,
		Upgrade:       flags&flagUpgrade != 0,
		HTTP2:         flags&flagHTTP2 != 0,
		Deadline:      time.Duration(d.uint(uint64(MaxDeadline/time.Millisecond))) * time.Millisecond,
		Credit:        d.uint(math.MaxInt64),
		ContentLength: int64(d.uint(math.MaxInt64)) - 1,
		RemoteAddr:    d.string(),
		Scheme:        d.string(),
		Method:        d.string(),
		Authority:     d.string(),
		Target:        d.string(),
		Fields:        d.fields(),
		Trailers:      d.fields(),
		Body:          body,
	}
	return r, d.end()
}

func decodeResponse(flags byte, b []byte) (Frame, error) {
	d, body := splitBody(b)
	r := &Response{
		More:          flags&flagFin == 0,
		Upgrade:       flags&flagUpgrade != 0,
		Status:        int(d.uint(999)),
		ContentLength: int64(d.uint(math.MaxInt64)) - 1,
		Fields:        d.fields(),
		Trailers:      d.fields(),
		Body:          body,
	}
	return r, d.end()
}

// DataHead reads the head of a [Data] frame, and returns what follows it too. It reports false if b is no such frame.
func DataHead(b []byte) (offset uint64, last bool, bytes []byte, ok bool) {
	if len(b) < 2 || b[0] != version<<4|typeData || b[1]&^allowed[typeData] != 0 {
		return 0, false, nil, false
	}
	offset, bytes, err := decodePiece(b[2:])
	return offset, b[1]&flagFin != 0, bytes, err == nil
}

// decodePiece copies nothing.
func decodePiece(b []byte) (offset uint64, bytes []byte, err error) {
	d := &decoder{raw: b}
	if offset = d.uint(math.MaxInt64); d.err != nil {
		return 0, nil, d.err
	}
	return offset, b[d.at:], nil
}
