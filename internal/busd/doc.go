// Package busd is the daemon as a value: [Run] is all of "busd serve".
//
// It embeds a NATS server, or uses one; keeps the roster; runs the modules that the operator has it run; and opens the
// doors through which a homeserver in any language asks: HTTP and NATS. What must outlive it is in its folder for state (what
// modules registered, the keys of NATS users) or in JetStream (stores, news, records), so it may be restarted at any time, and
// run more than once on one NATS.
package busd
