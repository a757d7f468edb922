// Package wire is what both sides of the bus speak: the JSON mapping of messages, headers, and failures.
//
// Nothing that a user says becomes a NATS header or a subject. The common request has no header at all.
package wire
