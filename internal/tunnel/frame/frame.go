package frame

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// A frame is a two byte prelude and a body of minimal uvarints and length-prefixed strings:
//
//	byte 0  version<<4 | type        byte 1  flags
//
//	REQ     body_len deadline_ms credit content_length+1 remote_addr scheme method authority target fields trailers body
//	RSP     body_len status content_length+1 fields trailers body
//	INFO    status fields
//	DATA    offset bytes
//	END     offset trailers
//	ACCEPT  credit
//	CREDIT  credit
//	RESET   code http_status text
//	PING    count (token credit sent gone)*
//	PONG    as PING
//	PART    offset bytes
//
// body_len stands first so that the head is known to be all that lies before the body, and is copied out once.
// Fields are a count and then name, value pairs. Offsets and credits count bytes of one direction from its beginning:
// a frame that is lost, doubled or late cannot change what another one means.
const version = 1

const (
	typeRequest  = 1
	typeResponse = 2
	typeInfo     = 3
	typeData     = 4
	typeEnd      = 5
	typeAccept   = 6
	typeCredit   = 7
	typeReset    = 8
	typePing     = 9
	typePong     = 10
	typePart     = 11
)

// Bit 8 is reserved.
const (
	flagFin       = 1  // Nothing follows in this direction. On PING: an answer is wanted.
	flagUpgrade   = 2  // REQ and RSP only: what follows is another protocol.
	flagHTTP2     = 4  // REQ only: the client speaks HTTP/2.
	flagRetryable = 16 // RESET only: the handler was not started.
)

const (
	// MaxFields is how many fields, and how many trailers, one frame may have. Beyond: a request is answered 431; where it is a
	// response, the client is answered 502.
	MaxFields = 1024

	// MaxText is the length in bytes of the text with which a stream is reset. Beyond: it is cut.
	MaxText = 512

	// MaxDeadline is the longest deadline that a request of a web resource may carry. Beyond: it is shortened.
	MaxDeadline = 30 * 24 * time.Hour

	// MaxStates is how many streams one ping or pong may tell of. Beyond: several are sent.
	MaxStates = 256

	// MaxHead is the size in bytes of a response's head that is sent in parts, as for that of a response in net/http's Transport.
	// Beyond: the client is answered 502.
	MaxHead = 10 << 20
)

// ErrMalformed is matched by every error of [Decode].
var ErrMalformed = errors.New("frame: malformed frame")

// Frame is one of the frame types of this file.
type Frame interface{ isFrame() }

// Request is the head of one HTTP request, with its whole body unless More.
type Request struct {
	More          bool          // the body follows, as [Data] and [End]
	Upgrade       bool          // the client asks for another protocol
	HTTP2         bool          // the client speaks HTTP/2, or what came after it
	Deadline      time.Duration // time left to answer, rounded up to milliseconds on the wire; 0 is none
	Credit        uint64        // how much of the response may be sent at once
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

// Response is the head of one HTTP response, with its whole body unless More.
type Response struct {
	More          bool // the body follows, as [Data] and [End]
	Upgrade       bool // the protocol was switched: what follows are bytes of it, in both directions
	Status        int
	ContentLength int64 // -1 is unknown; differs from len(Body) only for HEAD, 204 and 304, and with More
	Fields        []Field
	Trailers      []Field
	Body          []byte
}

// Info is an informational response, before the one that counts.
type Info struct {
	Status int // 100 to 199, but not 101
	Fields []Field
}

// Data is a part of a body.
type Data struct {
	Last   bool // it is the last, and no trailers follow
	Offset uint64
	Bytes  []byte
}

// End ends a body that is whole.
type End struct {
	Offset   uint64 // the length of the body
	Trailers []Field
}

// Part is a piece of a [Response] that is larger than a frame may be. Parts come one after the other, before anything else
// of the response; put together they are the frame.
type Part struct {
	Last   bool
	Offset uint64 // of the piece, in the frame
	Bytes  []byte
}

// Accept says that a worker has the request, and where it can be reached: by its reply address.
type Accept struct{ Credit uint64 }

// Credit is how much of a body its receiver takes, counted from its beginning. It never falls.
type Credit struct{ Offset uint64 }

// Reset ends a stream that is not whole, and says why.
type Reset struct {
	Code      Code
	Status    int    // what a gateway should tell the client; a 5xx
	Retryable bool   // the handler was not started: asking again cannot do the work twice
	Text      string // at most MaxText bytes; clients may see it, so it tells nothing of the module's inside
}

// Ping tells a worker of streams which it should have. It repeats what may have been lost.
type Ping struct {
	Answer bool // a [Pong] is wanted
	States []State
}

// Pong answers a [Ping], stream by stream.
type Pong struct{ States []State }

// State is one stream, as the sender of a [Ping] or [Pong] sees it.
type State struct {
	Token  string // the worker's
	Credit uint64 // granted
	Sent   uint64 // bytes of body sent
	Gone   bool   // Pong only: there is no such stream here
}

// Code is the reason of a [Reset]. Codes unknown to the receiver are valid.
type Code uint16

// The reasons that there are.
const (
	CodeMalformed Code = 1  // the request frame could not be read
	CodePanic     Code = 2  // the handler panicked
	CodeAborted   Code = 3  // the handler panicked with http.ErrAbortHandler, on purpose
	CodeTooLarge  Code = 4  // the response does not fit one frame
	CodeCancelled Code = 5  // nobody waits for the rest any more
	CodeLost      Code = 6  // a frame, or the peer, was lost
	CodeFlow      Code = 7  // more was sent than there was credit for
	CodeRefused   Code = 8  // the worker has too much to do
	CodeGoingAway Code = 9  // the worker stops
	CodeBody      Code = 10 // the request's body broke off
	CodeLeft      Code = 11 // the client has closed its side: the handler's context ends, and its response is still taken
)

// String returns the name of the code, or its number where it has no name.
func (c Code) String() string {
	names := [...]string{
		CodeMalformed: "malformed", CodePanic: "panic", CodeAborted: "aborted", CodeTooLarge: "too_large",
		CodeCancelled: "cancelled", CodeLost: "lost", CodeFlow: "flow_control", CodeRefused: "refused",
		CodeGoingAway: "going_away", CodeBody: "body", CodeLeft: "left",
	}
	if int(c) < len(names) && names[c] != "" {
		return names[c]
	}
	return fmt.Sprintf("code %d", uint16(c))
}

// NewReset returns a reset that a gateway turns into 502.
func NewReset(code Code, text string) *Reset {
	return &Reset{Code: code, Status: http.StatusBadGateway, Text: text}
}

func (*Request) isFrame()  {}
func (*Response) isFrame() {}
func (*Info) isFrame()     {}
func (*Data) isFrame()     {}
func (*End) isFrame()      {}
func (*Part) isFrame()     {}
func (*Accept) isFrame()   {}
func (*Credit) isFrame()   {}
func (*Reset) isFrame()    {}
func (*Ping) isFrame()     {}
func (*Pong) isFrame()     {}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}
