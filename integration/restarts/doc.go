// Package restarts has a test that stops, kills and starts everything in any order, and holds each decision against what
// the modules on the operator's list would have said.
package restarts
