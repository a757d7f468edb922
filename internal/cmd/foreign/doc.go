// Package foreign has, as tests, what others wrote and users will point at a module: each suite runs its client against a
// handler itself, behind a reverse proxy, and behind the tunnel, by the public API alone.
//
// It is a module of its own, so that what it tests with is a dependency of nothing else.
package foreign
