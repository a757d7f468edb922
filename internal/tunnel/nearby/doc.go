// Package nearby carries large bodies between a gateway and a worker that find themselves on one machine and are the same
// user: past NATS, through a Unix socket. See docs/adr/0058-large-bodies-stay-on-the-machine.md.
//
// A stream begins on NATS, as every other. A worker that is about to send or to read a large body looks for the gateway's
// socket, whose name is the gateway's, and says the stream's token, which it knows from the request and nobody else does.
// Each stream has a [Line] of its own, and each token opens one. Where there is no socket, no answer or no room, bodies go
// over NATS as before.
//
// Files that modules read go the same way, from a homeserver's client to a worker: the client's name and the file's subject stand for
// the gateway's name and the token. See docs/adr/0072-files-stay-on-the-machine.md.
package nearby
