// Package responder answers requests that come over NATS: it subscribes, works on a bounded number at a time, cancels by
// name, recovers from panics, replies, and says so when it is busy or when an answer is larger than NATS takes.
package responder
