// Package frame is the wire form of HTTP in the tunnel: eleven kinds of frames, each with one spelling in bytes.
//
// Everything here is a pure function of its arguments, safe for concurrent use. docs/protocol.md, "Web resources",
// describes the form for other languages.
package frame
