//go:build !race

package testbed

// RaceDetector reports whether the tests have the race detector; programs that they build have what they have.
const RaceDetector = false
