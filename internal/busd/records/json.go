package records

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/modulebus/modulebus/decision"
)

// appendRecord appends a record as [json.Marshal] writes it. JSON is most of what writing a record costs, so it is made without
// reflection, except for records that contain requests.
func appendRecord(b []byte, r *decision.Record) ([]byte, error) {
	if r.Request != nil || r.Answer != nil || r.Modules == nil {
		data, err := json.Marshal(r)
		return append(b, data...), err
	}
	b = appendText(append(b, `{"id":`...), r.ID)
	b = appendText(append(b, `,"time":`...), r.Time.String())
	b = appendText(append(b, `,"callback":`...), r.Callback)
	b = appendMaybe(b, `,"origin":`, r.Origin)
	b = appendText(append(b, `,"outcome":`...), r.Outcome)
	b = appendMaybe(b, `,"decided_by":`, r.DecidedBy)
	b = strconv.AppendBool(append(b, `,"by_policy":`...), r.ByPolicy)
	b = appendTime(append(b, `,"ms":`...), r.MS)
	b = appendTime(append(b, `,"budget_ms":`...), r.BudgetMS)
	if r.CallerMS != 0 {
		b = appendTime(append(b, `,"caller_ms":`...), r.CallerMS)
	}
	b = strconv.AppendUint(append(b, `,"roster_revision":`...), r.RosterRevision, 10)
	b = appendMaybe(b, `,"trace_id":`, r.TraceID)
	b = append(b, `,"modules":[`...)
	for i := range r.Modules {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendModule(b, &r.Modules[i])
	}
	return append(b, "]}"...), nil
}

func appendModule(b []byte, m *decision.Module) []byte {
	b = appendText(append(b, `{"module":`...), m.Module)
	b = appendMaybe(b, `,"worker":`, m.Worker)
	if m.AskedAtMS != nil {
		b = appendTime(append(b, `,"asked_at_ms":`...), *m.AskedAtMS)
	}
	if m.GivenMS != 0 {
		b = appendTime(append(b, `,"given_ms":`...), m.GivenMS)
	}
	b = appendTime(append(b, `,"ms":`...), m.MS)
	b = appendMaybe(b, `,"said":`, m.Said)
	if m.Final {
		b = append(b, `,"final":true`...)
	}
	b = appendMaybe(b, `,"errcode":`, m.Errcode)
	b = appendMaybe(b, `,"failure":`, m.Failure)
	b = appendMaybe(b, `,"text":`, m.Text)
	b = appendMaybe(b, `,"policy":`, m.Policy)
	b = strconv.AppendBool(append(b, `,"counted":`...), m.Counted)
	if m.Shadow {
		b = append(b, `,"shadow":true`...)
	}
	return append(b, '}')
}

// appendTime appends a number that has three digits behind the point at most, as [decision.In] makes it.
func appendTime(b []byte, ms decision.Milliseconds) []byte {
	thousandths := int64(math.Round(float64(ms) * 1000))
	b = strconv.AppendInt(b, thousandths/1000, 10)
	rest := thousandths % 1000
	if rest <= 0 {
		return b
	}
	b = append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
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
