// Package records keeps the account of decisions: the last ones in memory, and more in JetStream where the operator wants it.
//
// A record costs an ask no more than a copy: [Recorder.Observe] puts the trace into a ring. Everything else is done by readers of
// the ring, of which a [Journal] is one. A reader that is too slow for the ring loses records, and is told how many.
package records
