// Package childlog copies what a child process prints into a log.
//
// A JSON object with a known "level" and a "message", as zerolog writes it, keeps its level and its fields, but for
// "time", which the log stamps itself, and "module" and "worker", which the log's own context says. Any other line is a
// message at the level that [Options] name. A line of more than [MaxLine] bytes is cut there and marked with cut=true;
// what is not UTF-8 is replaced. Nothing is queued: a process that floods waits for the log.
//
// Each [Relay] has one goroutine, from [Start] to [Relay.Close].
package childlog
