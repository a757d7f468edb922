// Package identity makes the NATS users of one bus, and revokes them.
//
// A bus has two accounts of NATS: one for what happens on it, and the system account that NATS itself wants. busd holds
// the keys of both, and of the operator that vouches for them, so that a user is a signed text that any server of NATS
// checks by itself: no server asks busd, and none is configured anew when a module comes or goes. See ADR 27.
//
// Keys of users are derived from the account's, the user's name and a generation, so nothing but the three keys is
// secret on disk. What a user may do follows from its name: see [subjects.Server.ModulePermissions].
package identity
