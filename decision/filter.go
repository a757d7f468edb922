package decision

import (
	"slices"
	"time"
)

// Filter says which records are wanted. The zero Filter wants all.
type Filter struct {
	// Since is the earliest time.
	Since time.Time

	// Module has a part in it.
	Module string

	// Callback is a full name.
	Callback string

	// Outcomes are some of those that a record can have, and Failing wants records in which a module failed, too.
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
