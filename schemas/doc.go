// Package schemas holds the .proto files that declare the callbacks, the methods of the Module API, and what modules and busd say
// to each other.
//
// A callback is declared once, as an rpc in callbacks/v1 whose options say how answers combine, what a failure means
// and since when it exists; a method of the Module API is an rpc in moduleapi/v1. Everything else follows: run go generate after a
// change, and add rows to the tests.
//
// # Promises
//
// An empty reply is no opinion. Callbacks may be added: a module has no opinion on one that it does not know. Fields may be added: a
// receiver ignores those that it does not know, beside others that it does, and a reply in which it knows none is a failure (ADR
// 66). A field never changes its meaning or number; what cannot be kept becomes a new version beside the old one.
package schemas

//go:generate go run -C ../internal/cmd/schemagen .
//go:generate go generate ../docs
