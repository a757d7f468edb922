// Package spans makes the spans of OpenTelemetry that homeservers, busd and modules make of what they do, and carries them over
// NATS and HTTP as the headers of W3C Trace Context, https://www.w3.org/TR/trace-context/. See ADR 60.
//
// Spans say who did what, when, and what kind of thing came of it. They hold nothing of what was asked or answered.
package spans
