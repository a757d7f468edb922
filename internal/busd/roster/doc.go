// Package roster keeps the roster: the operator's list, and what the modules on it registered.
//
// [Roster] is plain state that is told what happens, with the time when it did; it has no clock, no goroutine and no
// network. [Service] puts it on NATS, and keeps what must outlive busd in a file.
//
// # Who is asked
//
// No ask is decided without a listed module that is known, or named by the operator, to want it, unless its policy says
// so. See ADR 16.
//
// A module is asked what its workers registered, all of them together. What it registered stands until its workers
// register something else, also when the last one has gone, when its configuration is refused, and when busd starts
// again: a listed module without a worker is absent, which is a failure with a policy, and not silently left out. Before
// a module has registered anything, it is asked what the operator named under its callbacks. Only the operator's list
// takes a module out of the roster, and what is remembered of it with it.
//
// # Revisions
//
// The revision of a roster is the time at which it was made, in milliseconds since the epoch, or one more than the one
// before. So it grows across restarts, and several busd of one homeserver need not agree on a counter.
package roster
