// Package news delivers news at least once: it tells modules what homeservers stored for them until they have handled
// it.
//
// Each module has a JetStream stream. A homeserver's client puts requests of callbacks that only tell into it; the ask
// is over when JetStream has stored the request. One busd at a time, the one that has made the stream's consumer, takes
// news out and tells the module by ordinary questions. Handled news is removed. Modules need no further permissions for
// that. See ADR 53.
//
// News is removed from a stream only when the module has handled it, or when it is older than deliver_for, which is
// counted and logged. A full stream refuses new news.
package news
