//go:build race

package testbed

const RaceDetector = true // the programs have what the tests have
