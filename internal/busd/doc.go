// Package busd is the daemon: [Run] is all of "busd serve".
//
// It embeds a NATS server, or uses an external one; keeps the roster; runs the modules that have a command in the
// configuration; and opens the doors through which a homeserver in any language asks: HTTP and NATS. What must outlive
// it is in its state folder (what modules registered, the keys of NATS users) or in JetStream (stores, news, records).
// So it may be restarted at any time, and several busd may share one NATS.
package busd
