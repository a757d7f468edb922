// Package nearby carries large bodies between a gateway and a worker on one machine, of the same user, through a Unix
// socket instead of NATS. See docs/adr/0058-large-bodies-stay-on-the-machine.md.
//
// Every stream begins on NATS. A worker that is about to send or to read a large body connects to the gateway's socket,
// which has the gateway's name, and sends the stream's token, which only the worker knows, from the request. Each
// stream has its own [Line], and each token opens one. Without a socket, an answer or room, bodies go over NATS.
//
// Parts of a large response lie in memory that both have, and the socket carries only their heads and credit. See
// docs/adr/0062-large-responses-lie-in-shared-memory.md.
//
// Files that modules read are sent in the same way, from a homeserver's client to a worker: the client's name takes the
// place of the gateway's, and the file's subject that of the token. See docs/adr/0072-files-stay-on-the-machine.md.
package nearby
