package wire

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of requests and replies. They are read whatever the case of their names: see [Header].
const (
	// HeaderError is the text of a failure. It has at most [MaxText] bytes, in one line.
	HeaderError = "Nats-Service-Error"

	// HeaderErrorCode is the kind of a failure: error, panic, malformed, busy or timeout. Anything else is an error.
	HeaderErrorCode = "Nats-Service-Error-Code"

	// HeaderTimeout is how many milliseconds are left to answer, where that is less than the module's own timeout.
	HeaderTimeout = "Modulebus-Timeout"

	// HeaderCall names a call of the Module API, so that it can be cancelled.
	HeaderCall = "Modulebus-Call"

	// HeaderNews names a piece of news that is told at least once: it is the same each time, and no other's.
	HeaderNews = "Modulebus-News"

	// HeaderQuestion is the subject at which a question is read in pieces, as a file, that is larger than a message. The
	// payload is [Elsewhere] then.
	HeaderQuestion = "Modulebus-Question"

	// HeaderQuestionSize is its size in bytes.
	HeaderQuestionSize = "Modulebus-Question-Size"

	// HeaderBatch is the subject at which the questions of a message that has several are answered: see ADR 64.
	HeaderBatch = "Modulebus-Batch"

	// HeaderTraceparent and HeaderTracestate name the trace that a message is part of: see [TraceContext].
	HeaderTraceparent = "traceparent"
	HeaderTracestate  = "tracestate"

	// HeaderContentType selects the mapping of the payload: see [MappingOf].
	HeaderContentType = "Content-Type"
)

// Header returns a header of m, empty if there is none, without regard to the case of its name. NATS keeps the case that
// a client wrote, and many clients write in lower case; a failure whose header is not found would count as no opinion. Of
// several spellings, name itself counts, or else the first in byte order.
func Header(m *nats.Msg, name string) string {
	if len(m.Header) == 0 {
		return ""
	}
	if v := m.Header.Get(name); v != "" {
		return v
	}
	var spelling, value string
	for other, values := range m.Header {
		if strings.EqualFold(other, name) && len(values) > 0 && (value == "" || other < spelling) {
			spelling, value = other, cmp.Or(values[0], value)
		}
	}
	return value
}

// has reports whether a message has a header, whatever the case of its name and whatever its value.
func has(m *nats.Msg, name string) bool {
	for other := range m.Header {
		if strings.EqualFold(other, name) {
			return true
		}
	}
	return false
}

// Timeout returns how long there is to answer m: what its header says, and at most own.
func Timeout(m *nats.Msg, own time.Duration) time.Duration {
	said := Header(m, HeaderTimeout)
	if said == "" {
		return own
	}
	ms, err := strconv.ParseUint(said, 10, 31)
	if err != nil {
		return own
	}
	return min(own, FromMilliseconds(ms))
}

// Elsewhere is the payload of a question that is to be read in pieces. It cannot be read in either mapping, so that a
// reader that does not know of this does not take it for a question in which nothing is said.
var Elsewhere = []byte{0}

// TraceContext is the trace that a message is part of, as https://www.w3.org/TR/trace-context/ spells it; empty for none.
type TraceContext struct{ Parent, State string }

// TraceContextOf returns what the headers of m say.
func TraceContextOf(m *nats.Msg) (c TraceContext) {
	if c.Parent = Header(m, HeaderTraceparent); c.Parent != "" {
		c.State = Header(m, HeaderTracestate)
	}
	return c
}

// Put adds it to headers.
func (c TraceContext) Put(h nats.Header) {
	if c.Parent != "" {
		h[HeaderTraceparent] = []string{c.Parent}
	}
	if c.State != "" {
		h[HeaderTracestate] = []string{c.State}
	}
}
