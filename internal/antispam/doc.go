// Package antispam reads and writes what travels in the HTTP antispam protocol: the bodies that synapse-http-antispam 0.5.1
// sends, and the replies that it takes for a verdict. Which callbacks the protocol has, and how it writes their requests,
// is declared in schemas; nothing here knows a callback.
//
// All functions are pure, and safe for concurrent use. See docs/antispam.md.
package antispam
