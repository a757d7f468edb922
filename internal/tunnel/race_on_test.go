//go:build race

package tunnel_test

// raced says that the race detector is on: it lets pools forget what they hold.
const raced = true
