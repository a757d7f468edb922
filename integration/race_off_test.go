//go:build !race

package integration_test

const raceDetector = false // the programs have what the tests have
