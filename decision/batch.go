package decision

// Batch is some records of decisions, in the order in which they were made, as busd hands them to a module that may read
// them.
type Batch struct {
	Decisions []Record `json:"decisions"`

	// Lost is how many records came before these and after the last batch, and are in neither: the module was too slow, or
	// not there.
	Lost uint64 `json:"lost,omitempty"`
}
