package records

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"time"
)

// ids names records. A name consists of the record's time, so that a reader of a stream knows where to look for it, the
// recorder's token, and a number.
type ids struct{ token string }

const (
	idPrefix    = "d-"
	idBase      = 36
	timeLength  = 9 // digits of milliseconds, enough for the year 5188
	tokenLength = 6
	zeros       = "000000000" // as many as timeLength
	idLength    = 32          // bytes that suffice for a name
)

func newIDs() ids { return ids{strings.ToLower(rand.Text()[:tokenLength])} }

// of returns the name of a record.
func (i ids) of(at time.Time, number uint64) string {
	return string(i.append(make([]byte, 0, idLength), at, number))
}

// append appends the name of a record.
func (i ids) append(b []byte, at time.Time, number uint64) []byte {
	var room [idLength]byte
	ms := strconv.AppendInt(room[:0], at.UnixMilli(), idBase)
	b = append(append(b, idPrefix...), zeros[:max(0, timeLength-len(ms))]...)
	return strconv.AppendUint(append(append(b, ms...), i.token...), number, idBase)
}

// parse reads a name: the time of the record and, if this recorder made it, its number.
func (i ids) parse(id string) (at time.Time, number uint64, ours, ok bool) {
	text, ok := strings.CutPrefix(id, idPrefix)
	if !ok || len(text) <= timeLength+tokenLength {
		return at, 0, false, false
	}
	ms, err := strconv.ParseInt(text[:timeLength], idBase, 64)
	if err != nil {
		return at, 0, false, false
	}
	number, err = strconv.ParseUint(text[timeLength+tokenLength:], idBase, 64)
	return time.UnixMilli(ms), number, text[timeLength:timeLength+tokenLength] == i.token, err == nil
}

// maker returns the token of the recorder that made a name, and the name's number; both are empty if it is no name.
func maker(id string) (token, number string) {
	const end = len(idPrefix) + timeLength + tokenLength
	if len(id) <= end {
		return "", ""
	}
	return id[end-tokenLength : end], id[end:]
}

// ticket receives the name of an ask's record.
type ticket struct {
	ids    ids
	at     time.Time
	number uint64
}

type ticketKey struct{}

// Named returns a context for one ask, and a function that returns the name of the ask's record after its end; empty if
// it has none because no module was asked.
func Named(ctx context.Context) (_ context.Context, id func() string) {
	t := ticketOf(ctx)
	if t == nil {
		t = &ticket{}
		ctx = context.WithValue(ctx, ticketKey{}, t)
	}
	return ctx, t.id
}

func ticketOf(ctx context.Context) *ticket {
	t, _ := ctx.Value(ticketKey{}).(*ticket)
	return t
}

func (t *ticket) id() string {
	if t.number == 0 {
		return ""
	}
	return t.ids.of(t.at, t.number)
}
