package records

import (
	"fmt"
	"strings"

	"github.com/modulebus/modulebus/decision"
)

// From is the origin of a record's event, in brackets; empty if it is not known.
func From(r *decision.Record) string {
	if r.Origin == "" {
		return ""
	}
	return " (" + r.Origin + ")"
}

// Verdict is the result of the ask, in words.
func Verdict(r *decision.Record) string {
	text := strings.ReplaceAll(r.Outcome, "_", " ")
	switch {
	case r.ByPolicy:
		return text + " by the on_failure of " + r.DecidedBy + ", which failed"
	case r.DecidedBy != "":
		return text + " by " + r.DecidedBy
	case r.Outcome == decision.Answered:
		return text + " by several modules together"
	}
	return text
}

// AskedAt is when the module was asked, counted from the start of the ask; empty if it was not.
func AskedAt(m *decision.Module) string {
	if m.AskedAtMS == nil {
		return ""
	}
	return fmt.Sprintf("%.1f ms", float64(*m.AskedAtMS))
}

// Took is how long the module took to say something; empty if it said nothing.
func Took(m *decision.Module) string {
	if m.AskedAtMS == nil || m.Said == "" {
		return ""
	}
	return fmt.Sprintf("%.1f ms", float64(m.MS))
}

// Said is what the module said, in words; empty if it said nothing.
func Said(m *decision.Module) string {
	switch m.Said {
	case decision.Silent:
		return "nothing against it"
	case decision.Refusal:
		return strings.TrimSpace("refusal " + m.Errcode)
	case decision.Failure:
		text := "failure: " + m.Failure
		if m.Text != "" {
			text += " (" + m.Text + ")"
		}
		return text + ", on_failure: " + m.Policy
	}
	return m.Said
}

// Counted says why the module counted, or why it did not.
func Counted(r *decision.Record, m *decision.Module) string {
	switch {
	case m.Shadow:
		return "no: it is in shadow"
	case m.Counted && m.Module == r.DecidedBy:
		return "yes: it decided"
	case m.Counted && m.Said == decision.Failure && m.Policy == "fail":
		return "yes: its failure ended the ask"
	case m.Counted && m.Said == decision.Failure:
		return "yes: skipped"
	case m.Counted:
		return "yes"
	case r.Outcome == decision.Cancelled:
		return "no: the caller went away"
	case m.AskedAtMS == nil:
		return "no: the ask had ended before its turn"
	}
	return "no: a module before it had decided"
}
