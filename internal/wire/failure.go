package wire

import (
	"errors"
	"strings"
	"unicode"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// MaxText is the length of a failure's text, in bytes. Beyond: it is cut.
const MaxText = 512

const (
	headerStatus     = "Status"
	statusUnanswered = "503"
)

// Failure is a module's failure to answer. Its text is for the operator, and not for the user whom the ask was about.
type Failure struct {
	Kind rosterv1.FailureKind
	Text string
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Text == "" {
		return KindName(f.Kind)
	}
	return KindName(f.Kind) + ": " + f.Text
}

// KindName is how a kind is spelled in headers, JSON and metrics.
func KindName(k rosterv1.FailureKind) string { return strings.ToLower(k.String()) }

// Header returns the headers of a reply that reports f.
func (f *Failure) Header() nats.Header {
	return nats.Header{HeaderErrorCode: {KindName(f.Kind)}, HeaderError: {OneLine(f.Text)}}
}

// Unsent returns what stands for the reply to a request that was not sent.
func Unsent(err error) *nats.Msg {
	h := nats.Header{headerStatus: {statusUnanswered}, HeaderError: {OneLine(err.Error())}}
	if errors.Is(err, nats.ErrMaxPayload) {
		h = (&Failure{rosterv1.FailureKind_ERROR, "the request is larger than the server's max_payload"}).Header()
	}
	return &nats.Msg{Header: h}
}

// FailureOf returns what a reply reports, or nil if it reports no failure. A header of a failure without a value reports one, too:
// many errors have no text. Workers cannot report to be absent: that is the server's word. A message that is a status of NATS, and
// nothing else, is nobody's silence.
func FailureOf(m *nats.Msg) *Failure {
	if len(m.Header) == 0 {
		return nil
	}
	text := OneLine(Header(m, HeaderError))
	switch status := Header(m, headerStatus); {
	case len(m.Data) > 0 || status == "":
	case status == statusUnanswered:
		return &Failure{Kind: rosterv1.FailureKind_ABSENT, Text: text}
	default:
		return &Failure{Kind: rosterv1.FailureKind_ERROR, Text: OneLine("in place of an answer came status " + status + " of NATS")}
	}
	if !has(m, HeaderErrorCode) && !has(m, HeaderError) {
		return nil
	}
	return &Failure{Kind: kindOf(Header(m, HeaderErrorCode)), Text: text}
}

func kindOf(code string) rosterv1.FailureKind {
	switch k := rosterv1.FailureKind(rosterv1.FailureKind_value[strings.ToUpper(code)]); k {
	case rosterv1.FailureKind_TIMEOUT, rosterv1.FailureKind_BUSY, rosterv1.FailureKind_PANIC, rosterv1.FailureKind_MALFORMED:
		return k
	}
	return rosterv1.FailureKind_ERROR
}

// OneLine cuts text to [MaxText] bytes of valid UTF-8 and keeps it in one line, so that it can be a header, and shows what
// it says: without marks that turn the direction of text around.
func OneLine(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), MaxText)], "")
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, text)
}
