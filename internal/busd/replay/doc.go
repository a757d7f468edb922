// Package replay decides recorded asks again, under another configuration. It is pure: no module is asked.
//
// The law: under the configuration with which a record was made, the decision is the recorded one. If another
// configuration needs an answer that the record does not have, it is not guessed: [Verdict.Unknown] says so.
package replay
