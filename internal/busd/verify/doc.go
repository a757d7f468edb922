// Package verify tells the author of a module, in any language, what of docs/protocol.md it does and what not.
//
// A module is started as busd would start it, against a real NATS server with the permissions that modules have, and a busd
// that follows a script. Each rule of the protocol is a row of a table: a sentence, where the page says more, and a function
// that looks. Rules know nothing of the language, and little of what the module is for: they ask what it registered, with
// requests that are filled with plausible values.
//
// # Failure
//
// An error means that nothing could be verified: the NATS server does not start. What is wrong with the module, also that it
// does not start or never joins, is in the [Report]. The processes of a module are gone when Run returns.
package verify
