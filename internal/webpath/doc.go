// Package webpath says what the path of a web resource may be, and which module a path belongs to. Everything that
// routes requests, registers paths or stands in for a homeserver in tests goes by it.
//
// All functions are pure, and safe for concurrent use.
package webpath

//go:generate go test -count=1 -run ^TestBridgeReservesTheSamePaths$ . -update
