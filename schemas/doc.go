// Package schemas holds the .proto files that declare the callbacks and what travels beside them.
//
// A callback is declared once, as an rpc in callbacks/v1 whose options say how answers combine, what a failure means
// and since when it exists. Everything else follows: run go generate after a change, and add rows to the tests.
//
// # Promises
//
// An empty reply is no opinion. Fields and callbacks unknown to a receiver are no opinion either, so both may be added.
// A field never changes its meaning or number; what cannot be kept becomes a new version beside the old one.
package schemas

//go:generate go run -C ../internal/cmd/schemagen .
