// Package decision is the record of a decision: who was asked, what each said, and what came of it. A [Record] is plain
// data, and all functions are pure. Its JSON form is a contract: see "Decisions" in docs/operating.md.
package decision
