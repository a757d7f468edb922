// Package records keeps the account of decisions: the last ones in memory, and more in JetStream where the operator wants it.
//
// What is kept is decided by whoever asks, and never costs an ask more than to note it: [Recorder.Observe] copies a trace
// into a ring. All else happens to who reads, and a [Journal] is one who reads. A reader that is
// too slow for the ring loses records, and is told how many.
package records
