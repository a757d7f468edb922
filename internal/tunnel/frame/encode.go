package frame

import (
	"encoding/binary"
	"sync"
	"time"
)

func prelude(dst []byte, kind, flags byte) []byte { return append(dst, version<<4|kind, flags) }

func headFlags(more, upgrade bool) (flags byte) {
	if !more {
		flags |= flagFin
	}
	if upgrade {
		flags |= flagUpgrade
	}
	return flags
}

// Append appends the frame of f to dst. It checks no limits: the sender does before, and [Decode] does. The text of a
// [Reset] is cut to [MaxText].
func Append(dst []byte, f Frame) []byte {
	switch f := f.(type) {
	case *Request:
		return appendRequest(dst, f)
	case *Response:
		return appendResponse(dst, f)
	case *Info:
		return appendFields(binary.AppendUvarint(prelude(dst, typeInfo, 0), uint64(f.Status)), f.Fields)
	case *Data:
		return append(AppendDataHead(dst, f.Offset, f.Last), f.Bytes...)
	case *Part:
		return append(binary.AppendUvarint(prelude(dst, typePart, headFlags(!f.Last, false)), f.Offset), f.Bytes...)
	case *End:
		return appendFields(binary.AppendUvarint(prelude(dst, typeEnd, flagFin), f.Offset), f.Trailers)
	case *Accept:
		return binary.AppendUvarint(prelude(dst, typeAccept, 0), f.Credit)
	case *Credit:
		return binary.AppendUvarint(prelude(dst, typeCredit, 0), f.Offset)
	case *Reset:
		return appendReset(dst, f)
	case *Ping:
		return appendStates(prelude(dst, typePing, headFlags(!f.Answer, false)), f.States)
	case *Pong:
		return appendStates(prelude(dst, typePong, 0), f.States)
	}
	return dst
}

// composed holds the memory of frames that were sent.
var composed = sync.Pool{New: func() any { return new([]byte) }}

// Compose returns the frame of f in reused memory. The caller gives it to [Recycle] when the frame was sent.
func Compose(f Frame) *[]byte {
	frame := composed.Get().(*[]byte)
	*frame = Append((*frame)[:0], f)
	return frame
}

// Recycle takes back the memory of a frame that [Compose] returned. The caller must not use it afterwards.
func Recycle(frame *[]byte) { composed.Put(frame) }

// partRoom is what a [Part] takes beside its bytes, at most.
const partRoom = 2 + binary.MaxVarintLen64

// Split returns the frames that carry a frame of a response: itself, or parts of it where it has more than limit bytes. It
// returns none for one that is larger than [MaxHead], or that no parts can carry.
func Split(raw []byte, limit int) (frames [][]byte) {
	switch size := limit - partRoom; {
	case len(raw) <= limit:
		return [][]byte{raw}
	case len(raw) > MaxHead || size <= 0:
		return nil
	default:
		for at := 0; at < len(raw); at += size {
			end := min(at+size, len(raw))
			frames = append(frames, Append(nil, &Part{Last: end == len(raw), Offset: uint64(at), Bytes: raw[at:end]}))
		}
		return frames
	}
}

func appendRequest(dst []byte, r *Request) []byte {
	flags := headFlags(r.More, r.Upgrade)
	if r.HTTP2 {
		flags |= flagHTTP2
	}
	dst = prelude(dst, typeRequest, flags)
	dst = binary.AppendUvarint(dst, uint64(len(r.Body)))
	dst = binary.AppendUvarint(dst, milliseconds(r.Deadline))
	dst = binary.AppendUvarint(dst, r.Credit)
	dst = binary.AppendUvarint(dst, uint64(r.ContentLength+1))
	for _, s := range [...]string{r.RemoteAddr, r.Scheme, r.Method, r.Authority, r.Target} {
		dst = appendString(dst, s)
	}
	dst = appendFields(dst, r.Fields)
	dst = appendFields(dst, r.Trailers)
	return append(dst, r.Body...)
}

func appendResponse(dst []byte, r *Response) []byte {
	dst = prelude(dst, typeResponse, headFlags(r.More, r.Upgrade))
	dst = binary.AppendUvarint(dst, uint64(len(r.Body)))
	dst = binary.AppendUvarint(dst, uint64(r.Status))
	dst = binary.AppendUvarint(dst, uint64(r.ContentLength+1))
	dst = appendFields(dst, r.Fields)
	dst = appendFields(dst, r.Trailers)
	return append(dst, r.Body...)
}

func appendReset(dst []byte, r *Reset) []byte {
	flags := byte(flagFin)
	if r.Retryable {
		flags |= flagRetryable
	}
	dst = prelude(dst, typeReset, flags)
	dst = binary.AppendUvarint(dst, uint64(r.Code))
	dst = binary.AppendUvarint(dst, uint64(r.Status))
	return appendString(dst, r.Text[:min(len(r.Text), MaxText)])
}

func appendStates(dst []byte, states []State) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(states)))
	for _, s := range states {
		dst = appendString(dst, s.Token)
		dst = binary.AppendUvarint(dst, s.Credit)
		dst = binary.AppendUvarint(dst, s.Sent)
		dst = append(dst, headFlags(!s.Gone, false))
	}
	return dst
}

// DataHeadSize is how many bytes [AppendDataHead] may append.
const DataHeadSize = 2 + binary.MaxVarintLen64

// AppendDataHead appends the beginning of a [Data] frame, behind which its bytes follow.
func AppendDataHead(dst []byte, offset uint64, last bool) []byte {
	return binary.AppendUvarint(prelude(dst, typeData, headFlags(!last, false)), offset)
}

// milliseconds rounds up, so that a deadline about to pass does not become the zero that means none.
func milliseconds(d time.Duration) uint64 {
	d = min(max(d, 0), MaxDeadline)
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}
