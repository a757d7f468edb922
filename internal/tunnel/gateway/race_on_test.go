//go:build race

package gateway_test

// raced says that the race detector is on: it lets pools forget what they hold.
const raced = true
