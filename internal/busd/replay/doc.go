// Package replay decides recorded asks again, under another configuration. It is pure: nobody is asked.
//
// The law: under the configuration that held when a record was made, the decision is the one that was recorded. What
// another configuration would have needed to know and the record does not have is not guessed: [Verdict.Unknown] says it.
package replay
