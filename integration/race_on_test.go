//go:build race

package integration_test

const raceDetector = true // the programs have what the tests have
