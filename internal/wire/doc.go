// Package wire is what both sides of the bus speak: the JSON mapping of messages, headers, and failures.
//
// Nothing that a user says becomes a NATS header or a subject. The common request has no header at all.
package wire

// Version is that of the subjects and messages. It stays the same as long as an older reader understands a newer writer: see "What
// may change" in docs/protocol.md.
const Version = "1"
