// Package news tells modules, until they have handled it, what homeservers stored for them: the news that is delivered at
// least once.
//
// Each module has a JetStream stream, into which whoever asks puts a request of a callback that only tells; the ask is over
// when JetStream has it. One busd at a time takes a module's stream out, the one that has made its consumer, and tells the
// module by ordinary questions; what was handled is removed. Modules need nothing for that, and may do nothing more. See ADR
// 53.
//
// What is in a stream is only ever removed when the module has handled it, or when it is older than the operator wants it to be
// told, which is counted and logged. A full stream refuses what is new.
package news
