// Package records keeps records of decisions: the last ones in memory, and more in JetStream if the operator wants it.
//
// A record costs an ask only a copy: [Recorder.Observe] puts the trace into a ring. Readers of the ring do everything
// else; a [Journal] is one of them. A reader that is too slow loses records, and is told how many.
package records
