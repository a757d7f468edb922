package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// A frame is a two byte prelude and a body of minimal uvarints and length-prefixed strings:
//
//	byte 0  version<<4 | type        byte 1  flags
//
//	REQ     body_len deadline_ms content_length+1 remote_addr scheme method authority target fields trailers body
//	RSP     body_len status content_length+1 fields trailers body
//	RESET   code http_status text
//
// body_len stands first so that the head is known to be all that lies before the body, and is copied out once.
// Fields are a count and then name, value pairs.
const version = 1

// Numbers 3 to 7, 9 and 10 are reserved for INFO, DATA, END, ACCEPT, CREDIT, PING and PONG.
const (
	typeRequest  = 1
	typeResponse = 2
	typeReset    = 8
)

// Bits 2, 4 and 8 are reserved for UPGRADE, REPLAYABLE and HEADONLY.
const (
	flagFin       = 1  // Nothing follows; every frame has it while only whole messages exist.
	flagRetryable = 16 // RESET only: the handler was not started.
)

const (
	// MaxFields is the largest number of fields, or of trailers, that one frame may hold.
	MaxFields = 1024

	// MaxText is the longest text of a [Reset], in bytes.
	MaxText = 512

	// MaxDeadline is the longest deadline that a [Request] may carry.
	MaxDeadline = 30 * 24 * time.Hour
)

// ErrMalformed is matched by every error of [Decode].
var ErrMalformed = errors.New("tunnel: malformed frame")

// Frame is a [*Request], a [*Response] or a [*Reset].
type Frame interface{ isFrame() }

// Request is one HTTP request with its whole body.
type Request struct {
	Deadline      time.Duration // time left to answer, rounded up to milliseconds on the wire; 0 is none
	ContentLength int64         // as the client declared it; -1 is unknown
	RemoteAddr    string        // host:port of the client
	Scheme        string        // http or https, as the client used it
	Method        string
	Authority     string // the Host field or its equivalent
	Target        string // the request target as received: still escaped, with its query; "*" for OPTIONS *
	Fields        []Field
	Trailers      []Field
	Body          []byte
}

// Response is one HTTP response with its whole body.
type Response struct {
	Status        int
	ContentLength int64 // -1 is unknown; differs from len(Body) only for HEAD, 204 and 304
	Fields        []Field
	Trailers      []Field
	Body          []byte
}

// Reset says that there will be no response, and why.
type Reset struct {
	Code      Code
	Status    int    // what a gateway should tell the client; a 5xx
	Retryable bool   // the handler was not started: asking again cannot do the work twice
	Text      string // at most MaxText bytes; clients may see it, so it tells nothing of the module's inside
}

// Code is the reason of a [Reset]. Codes unknown to the receiver are valid.
type Code uint16

// The reasons a worker gives.
const (
	CodeMalformed Code = 1 // the request frame could not be read
	CodePanic     Code = 2 // the handler panicked
	CodeAborted   Code = 3 // the handler panicked with http.ErrAbortHandler, on purpose
	CodeTooLarge  Code = 4 // the response does not fit one frame
)

// String returns the name of the code, or its number where it has no name.
func (c Code) String() string {
	names := [...]string{CodeMalformed: "malformed", CodePanic: "panic", CodeAborted: "aborted", CodeTooLarge: "too large"}
	if int(c) < len(names) && names[c] != "" {
		return names[c]
	}
	return fmt.Sprintf("code %d", uint16(c))
}

func (*Request) isFrame()  {}
func (*Response) isFrame() {}
func (*Reset) isFrame()    {}

// AppendRequest appends the frame of r to dst. It checks no limits: [Decode] does, and the gateway before it.
func AppendRequest(dst []byte, r *Request) []byte {
	dst = append(dst, version<<4|typeRequest, flagFin)
	dst = binary.AppendUvarint(dst, uint64(len(r.Body)))
	dst = binary.AppendUvarint(dst, milliseconds(r.Deadline))
	dst = binary.AppendUvarint(dst, uint64(r.ContentLength+1))
	for _, s := range [...]string{r.RemoteAddr, r.Scheme, r.Method, r.Authority, r.Target} {
		dst = appendString(dst, s)
	}
	dst = appendFields(dst, r.Fields)
	dst = appendFields(dst, r.Trailers)
	return append(dst, r.Body...)
}

// AppendResponse appends the frame of r to dst. It checks no limits: [Decode] does, and the worker before it.
func AppendResponse(dst []byte, r *Response) []byte {
	dst = append(dst, version<<4|typeResponse, flagFin)
	dst = binary.AppendUvarint(dst, uint64(len(r.Body)))
	dst = binary.AppendUvarint(dst, uint64(r.Status))
	dst = binary.AppendUvarint(dst, uint64(r.ContentLength+1))
	dst = appendFields(dst, r.Fields)
	dst = appendFields(dst, r.Trailers)
	return append(dst, r.Body...)
}

// AppendReset appends the frame of r to dst, its text cut to [MaxText].
func AppendReset(dst []byte, r *Reset) []byte {
	flags := byte(flagFin)
	if r.Retryable {
		flags |= flagRetryable
	}
	dst = append(dst, version<<4|typeReset, flags)
	dst = binary.AppendUvarint(dst, uint64(r.Code))
	dst = binary.AppendUvarint(dst, uint64(r.Status))
	return appendString(dst, r.Text[:min(len(r.Text), MaxText)])
}

// Decode reads one frame, which must be all of b. Errors match [ErrMalformed].
//
// A frame that decodes is the frame that its Append function writes, byte for byte: there is one spelling for each
// message. Field names are in canonical form ("Content-Type"), and values hold no CR, LF or NUL. The body of the
// result shares memory with b; the strings do not. No more is allocated than a small multiple of len(b).
func Decode(b []byte) (Frame, error) {
	if len(b) < 2 {
		return nil, malformed("shorter than a prelude")
	}
	if b[0]>>4 != version {
		return nil, malformed("version %d", b[0]>>4)
	}
	if b[1]&flagFin == 0 {
		return nil, malformed("not whole")
	}
	f, err := decodeType(b[0]&15, b[1]&^flagFin, b[2:])
	if err != nil {
		return nil, err
	}
	return f, nil
}

func decodeType(kind, flags byte, b []byte) (Frame, error) {
	switch {
	case kind == typeReset && flags&^flagRetryable == 0:
		return decodeReset(flags&flagRetryable != 0, b)
	case kind == typeRequest && flags == 0:
		return decodeRequest(b)
	case kind == typeResponse && flags == 0:
		return decodeResponse(b)
	}
	return nil, malformed("type %d with flags %#x", kind, flags)
}

func decodeRequest(b []byte) (Frame, error) {
	d, body := splitBody(b)
	r := &Request{
		Deadline:      time.Duration(d.uint(uint64(MaxDeadline/time.Millisecond))) * time.Millisecond,
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

func decodeResponse(b []byte) (Frame, error) {
	d, body := splitBody(b)
	r := &Response{
		Status:        int(d.uint(999)),
		ContentLength: int64(d.uint(math.MaxInt64)) - 1,
		Fields:        d.fields(),
		Trailers:      d.fields(),
		Body:          body,
	}
	return r, d.end()
}

func decodeReset(retryable bool, b []byte) (Frame, error) {
	d := newDecoder(b)
	r := &Reset{
		Code:      Code(d.uint(math.MaxUint16)),
		Status:    int(d.uint(999)),
		Retryable: retryable,
		Text:      d.string(),
	}
	if len(r.Text) > MaxText {
		d.fail("text of %d bytes", len(r.Text))
	}
	return r, d.end()
}

// milliseconds rounds up, so that a deadline about to pass does not become the zero that means none.
func milliseconds(d time.Duration) uint64 {
	d = min(max(d, 0), MaxDeadline)
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}
