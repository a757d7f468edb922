package records

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// encoder writes entries as [json.Marshal] writes their records. JSON is most of what writing a record costs, so it is made without
// reflection, and without the record; an entry with a request is left to [json.Marshal].
type encoder struct {
	ids    ids
	second int64  // in seconds since 1970
	date   []byte // that second as a text, up to the point
}

func (w *encoder) append(b []byte, e *entry) ([]byte, error) {
	if e.content != nil {
		data, err := json.Marshal(e.record(w.ids))
		return append(b, data...), err
	}
	b = append(w.ids.append(append(b, `{"id":"`...), e.start, e.number), '"')
	b = w.appendTime(append(b, `,"time":"`...), e.start)
	b = appendText(append(b, `","callback":`...), e.callback.FullName())
	b = appendMaybe(b, `,"origin":`, string(e.origin))
	b = appendText(append(b, `,"outcome":`...), string(e.outcome))
	b = appendMaybe(b, `,"decided_by":`, e.decidedBy)
	b = strconv.AppendBool(append(b, `,"by_policy":`...), e.byPolicy)
	b = appendDuration(append(b, `,"ms":`...), e.took)
	b = appendDuration(append(b, `,"budget_ms":`...), e.budget)
	if e.byCaller {
		b = appendPositive(b, `,"caller_ms":`, e.budget)
	}
	b = strconv.AppendUint(append(b, `,"roster_revision":`...), e.revision, 10)
	if e.traceID.IsValid() {
		b = append(hex.AppendEncode(append(b, `,"trace_id":"`...), e.traceID[:]), '"')
	}
	b = append(b, `,"modules":[`...)
	for i := range e.modules {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendModule(b, &e.modules[i], i == e.final)
	}
	return append(b, "]}"...), nil
}

func appendModule(b []byte, t *bus.ModuleTrace, final bool) []byte {
	b = appendText(append(b, `{"module":`...), t.Module)
	b = appendMaybe(b, `,"worker":`, t.Worker)
	if t.Asked {
		b = appendDuration(append(b, `,"asked_at_ms":`...), t.AskedAt)
	}
	b = appendPositive(b, `,"given_ms":`, t.Given)
	b = appendDuration(append(b, `,"ms":`...), t.Took)
	b = appendMaybe(b, `,"said":`, string(t.Said))
	if final {
		b = append(b, `,"final":true`...)
	}
	b = appendMaybe(b, `,"errcode":`, t.Errcode)
	if t.Failure != rosterv1.FailureKind_FAILURE_KIND_UNSPECIFIED {
		b = appendMaybe(b, `,"failure":`, wire.KindName(t.Failure))
		b = appendMaybe(b, `,"text":`, wire.OneLine(t.Text))
		b = appendMaybe(b, `,"policy":`, strings.ToLower(t.Policy.String()))
	}
	b = strconv.AppendBool(append(b, `,"counted":`...), t.Counted)
	if t.Shadow {
		b = append(b, `,"shadow":true`...)
	}
	return append(b, '}')
}

// appendTime appends a time as [decision.Time] has it. What asks of one second have in common is written once.
func (w *encoder) appendTime(b []byte, t time.Time) []byte {
	if second := t.Unix(); second != w.second || w.date == nil {
		w.second, w.date = second, t.UTC().AppendFormat(w.date[:0], "2006-01-02T15:04:05.")
	}
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(append(b, w.date...), byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// appendDuration appends what [decision.In] makes of it: milliseconds, with at most three digits behind the point.
func appendDuration(b []byte, d time.Duration) []byte {
	if d < 0 {
		return strconv.AppendFloat(b, float64(decision.In(d)), 'f', -1, 64)
	}
	thousandths := int64((d + time.Microsecond/2) / time.Microsecond)
	b = strconv.AppendInt(b, thousandths/1000, 10)
	rest := thousandths % 1000
	if rest == 0 {
		return b
	}
	b = append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// appendPositive appends a field that is left out where it is zero.
func appendPositive(b []byte, name string, d time.Duration) []byte {
	if decision.In(d) == 0 {
		return b
	}
	return appendDuration(append(b, name...), d)
}

// appendMaybe appends a field that is left out where it is empty.
func appendMaybe(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return appendText(append(b, name...), text)
}

// plain are the characters that [json.Marshal] writes as they are.
var plain = func() (is [256]bool) {
	for c := byte(' '); c <= '~'; c++ {
		is[c] = strings.IndexByte(`"\<>&`, c) < 0
	}
	return is
}()

func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if !plain[text[i]] {
			escaped, _ := json.Marshal(text) // It never fails for a text.
			return append(b, escaped...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}
