// Package flow is what both ends of a tunnelled stream have in common: credit, the parts of a body that have arrived
// and were not read, and how the stream ended.
//
// Two verbs are used for what comes in. A frame is received (ReceiveData, ReceiveEnd, ReceiveCredit, ReceiveState) when
// the transport delivers it, which never blocks. A part of a body is read (Read) when its consumer asks for it.
//
// All methods may be called concurrently unless they say otherwise. The package starts no goroutine; a [Deadline] has a
// timer while it is set.
package flow
