package decision

import (
	"encoding/json"
	"math"
	"time"
)

// Record is the account of one ask that reached a module. It says nothing of what the request or an answer held, unless
// the operator wants it to.
type Record struct {
	// ID is unique among the records of all busd of a homeserver.
	ID string `json:"id"`

	// Time is when the ask began.
	Time Time `json:"time"`

	// Callback is its full name.
	Callback string `json:"callback"`

	// Origin is local, federated or policy; empty where the request does not tell.
	Origin string `json:"origin,omitempty"`

	// Outcome is no_opinion, answered, refused, failed or cancelled.
	Outcome string `json:"outcome"`

	// DecidedBy is the module that decided; empty when none did, or several together.
	DecidedBy string `json:"decided_by,omitempty"`

	// ByPolicy is true for a refusal that DecidedBy did not give: it failed, and its policy refuses then.
	ByPolicy bool `json:"by_policy"`

	// MS is how long the ask took.
	MS Milliseconds `json:"ms"`

	// BudgetMS is the time that the ask had. CallerMS is the same where the caller left less than the operator, and else 0.
	BudgetMS Milliseconds `json:"budget_ms"`
	CallerMS Milliseconds `json:"caller_ms,omitempty"`

	// RosterRevision is the revision of the roster that the ask used.
	RosterRevision uint64 `json:"roster_revision"`

	// TraceID is the trace that the ask was part of, as 32 hexadecimal digits; empty for none.
	TraceID string `json:"trace_id,omitempty"`

	// Modules are those of the roster that the ask was for, in its order.
	Modules []Module `json:"modules"`

	// Request and Answer are what was asked and decided, in protobuf's JSON mapping, without what is secret. They are
	// there only where the operator wants them.
	Request json.RawMessage `json:"request,omitempty"`
	Answer  json.RawMessage `json:"answer,omitempty"`
}

// What a module can have said.
const (
	Silent  = "silent"
	Answer  = "answer"
	Refusal = "refusal"
	Failure = "failure"
)

// What can come of an ask.
const (
	NoOpinion = "no_opinion"
	Answered  = "answered"
	Refused   = "refused"
	Failed    = "failed"
	Cancelled = "cancelled"
)

// Module is one module's part of an ask.
type Module struct {
	Module string `json:"module"`

	// Worker is the worker that said it; empty if that is unknown.
	Worker string `json:"worker,omitempty"`

	// AskedAtMS is when it was asked, counted from the start of the ask; nil when it was not.
	AskedAtMS *Milliseconds `json:"asked_at_ms,omitempty"`

	// GivenMS is how long it was allowed to take, and MS how long it took until it said something, or its failure was certain.
	GivenMS Milliseconds `json:"given_ms,omitempty"`
	MS      Milliseconds `json:"ms"`

	// Said is silent, answer, refusal or failure; empty when the ask ended before the module said anything.
	Said string `json:"said,omitempty"`

	// Final is true for an answer that ends the walk through the modules although it is no refusal.
	Final bool `json:"final,omitempty"`

	// Errcode is that of a refusal.
	Errcode string `json:"errcode,omitempty"`

	// Failure is the kind of a failure, such as timeout or absent, and Text describes it, for operators. Policy is what the
	// operator has it mean: skip, refuse or fail. All are empty for what is no failure.
	Failure string `json:"failure,omitempty"`
	Text    string `json:"text,omitempty"`
	Policy  string `json:"policy,omitempty"`

	// Counted is true where the decision rests on it.
	Counted bool `json:"counted"`

	// Shadow is true for a module in shadow, which is asked and never counts.
	Shadow bool `json:"shadow,omitempty"`
}

// Milliseconds is a time in JSON: a number with up to three digits behind the point.
type Milliseconds float64

// In is the duration in milliseconds.
func In(d time.Duration) Milliseconds {
	return Milliseconds(math.Round(float64(d)/float64(time.Microsecond)) / 1000)
}

// Duration is the time as Go has it.
func (m Milliseconds) Duration() time.Duration {
	return time.Duration(math.Round(float64(m)*1000)) * time.Microsecond
}

// Time is a point in time in JSON: RFC 3339, always with milliseconds, in UTC.
type Time struct{ time.Time }

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// MarshalText implements [encoding.TextMarshaler].
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalJSON implements [json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// String implements [fmt.Stringer].
func (t Time) String() string { return t.UTC().Format(timeFormat) }

// Failing reports whether the ask failed, or a module that counts in it did.
func (r *Record) Failing() bool {
	if r.Outcome == Failed {
		return true
	}
	for _, m := range r.Modules {
		if m.Said == Failure && !m.Shadow {
			return true
		}
	}
	return false
}

// Silent reports whether no module said anything, those in shadow among them.
func (r *Record) Silent() bool {
	for _, m := range r.Modules {
		if m.Said != Silent {
			return false
		}
	}
	return r.Outcome == NoOpinion
}

// Find returns the part of the module of that name, which can be changed in place; nil when it has none.
func (r *Record) Find(module string) *Module {
	for i := range r.Modules {
		if r.Modules[i].Module == module {
			return &r.Modules[i]
		}
	}
	return nil
}
