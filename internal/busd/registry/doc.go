// Package registry keeps the roster: the operator's list, and who has joined of it.
//
// [Registry] is plain state that is told what happens, with the time when it did; it has no clock, no goroutine and no
// network. [Serve] puts it on NATS.
//
// # Who is asked
//
// A module is asked the callbacks that its workers registered, all of them together. What it registered stands until
// the next worker joins, also when the last one has gone: a listed module without a worker is absent, which is a failure
// with a policy, and not silently left out. Only the operator's list takes a module out of the roster.
//
// # Revisions
//
// The revision of a roster is the time at which it was made, in milliseconds since the epoch, or one more than the one
// before. So it grows across restarts, and several busd of one homeserver need not agree on a counter.
package registry
