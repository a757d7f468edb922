package decision

import "slices"

// Batch is some records of decisions, in the order in which they were made, as busd hands them to a module that may read
// them.
type Batch struct {
	Decisions []Record `json:"decisions"`

	// Lost is how many records came before these and after the last batch, and are in neither: the module was too slow, or
	// not there.
	Lost uint64 `json:"lost,omitempty"`
}

// Refusals returns the records of refused decisions on callbacks, in the order of the batch. Callbacks have their full names,
// such as spam_checker.user_may_create_room; without any, none is returned. What Request and Answer hold is shared with the
// batch.
func (b *Batch) Refusals(callbacks ...string) (refused []Record) {
	for _, r := range b.Decisions {
		if r.Outcome == Refused && slices.Contains(callbacks, r.Callback) {
			refused = append(refused, r)
		}
	}
	return refused
}
