package decision

import (
	"slices"
	"time"
)

// Filter says which records are wanted. The zero Filter wants all.
type Filter struct {
	// Since is the earliest time of a record. The zero Time is any.
	Since time.Time

	// Module is a module that has a part in the record. Empty is any.
	Module string

	// Callback is the full name of the callback. Empty is any.
	Callback string

	// Outcomes are those that a record may have. Failing adds the records in which a module failed, whatever their outcome.
	// With neither, any outcome will do.
	Outcomes []string
	Failing  bool
}

// Wants reports whether a record is one of those that are wanted.
func (f *Filter) Wants(r *Record) bool {
	switch {
	case r.Time.Before(f.Since),
		f.Module != "" && r.Find(f.Module) == nil,
		f.Callback != "" && r.Callback != f.Callback:
		return false
	case f.Failing && r.Failing():
		return true
	}
	return len(f.Outcomes) == 0 && !f.Failing || slices.Contains(f.Outcomes, r.Outcome)
}
