// Package verify tests a module, in any language, against docs/protocol.md.
//
// The module is started as busd would start it, with a real NATS server with the permissions that modules have, and a
// scripted busd. Each rule of the protocol is a row of a table: a sentence, the section of the page that explains it,
// and a function that checks it. Rules know nothing of the module's language, and little of its purpose: they ask the
// callbacks that it registered, with plausible values in the requests.
//
// # Failure
//
// An error means that nothing could be verified, because the NATS server does not start. Everything that is wrong with
// the module, such as that it does not start or never joins, is in the [Report]. When Run returns, the module's
// processes have ended.
package verify
