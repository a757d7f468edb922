// Package busd is the daemon as a value: [Run] is all of "busd serve".
//
// It embeds a NATS server, or uses one; keeps the roster; runs the modules that the operator has it run; and opens the
// doors through which a homeserver in any language asks: HTTP and NATS. It has no state of its own but the roster, which
// it learns anew from its file and from the workers that join, so it may be restarted at any time, and run more than
// once on one NATS.
package busd
