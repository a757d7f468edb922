// Package identity makes the NATS users of one bus, and revokes them.
//
// A bus has two accounts of NATS: one for its messages, and the system account that NATS itself needs. busd holds the
// keys of both, and of the operator that signs them. So a user is a signed text that any NATS server can check by
// itself: no server asks busd, and none is reconfigured when a module comes or goes. See ADR 27.
//
// Keys of users are derived from the account's, the user's name and a generation, so nothing but the three keys is
// secret on disk. What a user may do follows from its name: see [subjects.Server.ModulePermissions].
package identity
