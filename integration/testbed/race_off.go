//go:build !race

package testbed

const RaceDetector = false // the programs have what the tests have
